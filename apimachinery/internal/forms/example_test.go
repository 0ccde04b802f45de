package forms_test

import (
	"fmt"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

func ExampleLabel() {
	fmt.Println(forms.Label("web-1"))
	fmt.Println(forms.Label("web.1"))
	// Output:
	// []
	// [must not contain dots]
}
