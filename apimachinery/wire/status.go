package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery"
)

// maxStatus bounds the body of an error that a client reads, in bytes.
const maxStatus = 1 << 20

// StatusOf turns any error into the Status that a client gets: what is or wraps an apierrors.APIStatus as it is,
// a body that is too large as 413, the context's ends as Timeout, everything else as InternalError.
func StatusOf(err error) *metav1.Status {
	var status apierrors.APIStatus
	var tooLarge *http.MaxBytesError
	var s metav1.Status
	switch {
	case errors.As(err, &status):
		s = status.Status()
	case errors.As(err, &tooLarge):
		s = apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", tooLarge.Limit)).ErrStatus
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		s = apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0).ErrStatus
	default:
		s = apierrors.NewInternalError(err).ErrStatus
	}
	s.Kind, s.APIVersion = "Status", "v1"
	if s.Status == "" {
		s.Status = metav1.StatusFailure
	}
	if s.Code == 0 {
		s.Code = http.StatusInternalServerError
	}
	return &s
}

// WriteError answers with the [StatusOf] an error, in the media type that the client accepts, else as JSON, with
// Retry-After where the Status says so. Nothing must have been written before. It returns the error of the connection.
func WriteError(w http.ResponseWriter, hr *http.Request, err error) error {
	s := StatusOf(err)
	media := negotiateStatus(strings.Join(hr.Header.Values("Accept"), ","))
	body, err := encodeStatus(s, media)
	if err != nil {
		return err
	}
	if s.Details != nil && s.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(s.Details.RetryAfterSeconds)))
	}
	return WriteResponse(w, hr, &apimachinery.Response{Code: int(s.Code), ContentType: media, Body: body})
}

func encodeStatus(s *metav1.Status, media string) ([]byte, error) {
	if media == apimachinery.Protobuf {
		return apimachinery.EncodeProtobuf(s)
	}
	body, err := apimachinery.Encode(s)
	if err != nil || media != apimachinery.YAML {
		return append(body, '\n'), err
	}
	return yaml.JSONToYAML(body)
}

// ReadError makes the error of an answer that isn't a success: the Status in its body, or one made up from the
// code as client-go makes it, with Retry-After. It reads at most 1 MiB and leaves the body open.
func ReadError(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	var s metav1.Status
	if err == nil && apimachinery.DecodeLoose(body, &s) == nil && s.Kind == "Status" && s.Status != metav1.StatusSuccess {
		if s.Code == 0 {
			s.Code = int32(resp.StatusCode)
		}
		return &apierrors.StatusError{ErrStatus: s}
	}
	retry, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	method := ""
	if resp.Request != nil {
		method = resp.Request.Method
	}
	return apierrors.NewGenericServerResponse(resp.StatusCode, method, schema.GroupResource{}, "", string(body), max(retry, 0), true)
}
