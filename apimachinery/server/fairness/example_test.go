package fairness_test

import (
	"context"
	"fmt"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server/fairness"
)

// Before it is configured, everybody but administrators shares one level, which refuses what is too much.
func Example() {
	f, err := fairness.New(fairness.Config{Seats: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	ask := func(user string, groups ...string) {
		_, err := f.Enter(context.Background(), &fairness.Request{Attributes: &apimachinery.Attributes{
			User: apimachinery.User{Name: user, Groups: groups}, Verb: "get", Version: "v1", Resource: "pods",
		}})
		fmt.Println(user, err)
	}
	ask("jane", "system:authenticated")
	ask("joe", "system:authenticated")
	ask("root", "system:masters")
	// Output:
	// jane <nil>
	// joe too many requests, please try again later
	// root <nil>
}
