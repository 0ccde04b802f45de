package kinds

import "regexp"

// difference is one that stays, with its reason. Kind and what are "" for all; place is a regular expression for what
// a report counts by.
type difference struct{ kind, what, place, reason string }

var differences = []difference{}

func known(kind, what, key string) string {
	for _, d := range differences {
		if (d.kind == "" || d.kind == kind) && (d.what == "" || d.what == what) && regexp.MustCompile(d.place).MatchString(key) {
			return d.reason
		}
	}
	return ""
}
