package batch

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // time zones must be known on machines that have no list of them

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// unit is one of the five fields of a schedule.
type unit struct {
	name     string
	min, max int
	names    []string // of min and those after it
}

var units = [...]unit{
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day of month", 1, 31, nil},
	{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{"day of week", 0, 6, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

// checkSchedule says what is wrong with a schedule in the format of cron: five fields, or one of the names that begin
// with "@", with a time zone in front of either, if at all.
func checkSchedule(text string) error {
	if strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ=") {
		zone, rest, ok := strings.Cut(text, " ")
		if !ok {
			return fmt.Errorf("nothing follows the time zone in %q", text)
		}
		_, zone, _ = strings.Cut(zone, "=")
		if _, err := time.LoadLocation(zone); err != nil {
			return fmt.Errorf("time zone %q: %w", zone, err)
		}
		text = strings.TrimSpace(rest)
	}
	if strings.HasPrefix(text, "@") {
		return checkNamed(text)
	}
	fields := strings.Fields(text)
	if len(fields) != len(units) {
		return fmt.Errorf("expected exactly %d fields, found %d: %s", len(units), len(fields), fields)
	}
	for i, f := range fields {
		for r := range strings.SplitSeq(f, ",") {
			if r == "" {
				continue
			}
			if err := units[i].check(r); err != nil {
				return fmt.Errorf("%s %q: %w", units[i].name, r, err)
			}
		}
	}
	return nil
}

func checkNamed(text string) error {
	switch text {
	case "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly":
		return nil
	}
	if every, ok := strings.CutPrefix(text, "@every "); ok {
		if _, err := time.ParseDuration(every); err != nil {
			return fmt.Errorf("duration of %q: %w", text, err)
		}
		return nil
	}
	return fmt.Errorf("unrecognized descriptor: %s", text)
}

// check judges "*", a number, a range, each with a step or without: "*/15", "1-5", "mon-fri", "3/2" (from 3 on).
func (u unit) check(text string) error {
	slash := strings.Split(text, "/")
	hyphen := strings.Split(slash[0], "-")
	start, end := u.min, u.max
	if hyphen[0] != "*" && hyphen[0] != "?" {
		var err error
		if start, err = u.number(hyphen[0]); err != nil {
			return err
		}
		switch len(hyphen) {
		case 1:
			end = start
		case 2:
			if end, err = u.number(hyphen[1]); err != nil {
				return err
			}
		default:
			return fmt.Errorf("too many hyphens")
		}
	}
	step := 1
	switch len(slash) {
	case 1:
	case 2:
		var err error
		if step, err = number(slash[1]); err != nil {
			return err
		}
		if len(hyphen) == 1 {
			end = u.max
		}
	default:
		return fmt.Errorf("too many slashes")
	}
	switch {
	case start < u.min:
		return fmt.Errorf("beginning of range (%d) below minimum (%d)", start, u.min)
	case end > u.max:
		return fmt.Errorf("end of range (%d) above maximum (%d)", end, u.max)
	case start > end:
		return fmt.Errorf("beginning of range (%d) beyond end of range (%d)", start, end)
	case step == 0:
		return fmt.Errorf("step of range must be positive")
	}
	return nil
}

func (u unit) number(text string) (int, error) {
	for i, name := range u.names {
		if strings.EqualFold(name, text) {
			return u.min + i, nil
		}
	}
	return number(text)
}

func number(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", text)
	}
	if n < 0 {
		return 0, fmt.Errorf("negative number (%d) not allowed", n)
	}
	return n, nil
}

// validateTimeZone judges a time zone by its name, which must be one that a file can have; nil is none.
func validateTimeZone(zone *string, path *field.Path) field.ErrorList {
	switch {
	case zone == nil:
		return nil
	case *zone == "":
		return field.ErrorList{field.Invalid(path, zone, "timeZone must be nil or non-empty string")}
	}
	for part := range strings.SplitSeq(*zone, "/") {
		if !isZonePart(part) {
			return field.ErrorList{field.Invalid(path, zone, "unknown time zone "+*zone)}
		}
	}
	var errs field.ErrorList
	if strings.EqualFold(*zone, "Local") {
		errs = append(errs, field.Invalid(path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"))
	}
	if _, err := time.LoadLocation(*zone); err != nil {
		errs = append(errs, field.Invalid(path, zone, err.Error()))
	}
	return errs
}

func isZonePart(s string) bool {
	const longest = 14
	if s == "" || s == "." || s == ".." || s[0] == '-' || len(s) > longest {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_+", r)
	})
}
