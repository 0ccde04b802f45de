package cel_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/cel"
)

// TestLibraries evaluates what Kubernetes adds to CEL, for a self of "a1 b2".
func TestLibraries(t *testing.T) {
	env := cel.New()
	for _, text := range []string{
		// url
		`url('https://user:pw@example.com:80/p%20a/?q=1&q=2&r=3#f').getQuery() == {'q': ['1', '2'], 'r': ['3']}`,
		`url('https://[::1]:80/p a').getEscapedPath() == '/p%20a' && url('https://[::1]:80/').getHostname() == '::1'`,
		`url('https://[::1]:80/').getHost() == '[::1]:80' && url('https://a:80').getPort() == '80' && url('/x').getScheme() == ''`,
		`isURL('/x') && !isURL('../x') && url('/x') == url('/x')`,
		// regex
		`self.find('[0-9]') == '1' && self.find('x') == '' && self.findAll('[0-9]') == ['1', '2'] && self.findAll('[0-9]', 1) == ['1']`,
		`self.find('[0-9]' + '') == '1'`,
		// lists
		`[1, 2, 2].isSorted() && !['b', 'a'].isSorted() && [1, 3].sum() == 4 && [duration('1m'), duration('1s')].sum() == duration('61s')`,
		`[1.5, 2.5].max() == 2.5 && ['b', 'a'].min() == 'a' && [1, 2, 2].indexOf(2) == 1 && [1, 2, 2].lastIndexOf(2) == 2 && [1].indexOf(7) == -1`,
		// quantity
		`quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('1').add(quantity('500m')).sub(1) == quantity('0.5')`,
		`quantity('2') == quantity('1').add(1) && quantity('1.5').asApproximateFloat() == 1.5 && !quantity('1.5').isInteger()`,
		`sign(quantity('-1')) == -1 && quantity('5').asInteger() == 5 && isQuantity('1Mi') && !isQuantity('x')`,
		// ip and cidr
		`ip('1.2.3.4').family() == 4 && ip('::1').isLoopback() && ip('0.0.0.0').isUnspecified() && isIP('::') && !isIP('::ffff:1.2.3.4')`,
		`ip('169.254.0.1').isLinkLocalUnicast() && ip('224.0.0.1').isLinkLocalMulticast() && ip('1.1.1.1').isGlobalUnicast()`,
		`!ip.isCanonical('::0001') && string(ip('::0001')) == '::1'`,
		`cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('11.1.2.3'))`,
		`cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))`,
		`cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.1.2.3/8').ip() == ip('10.1.2.3') && cidr('::/7').prefixLength() == 7 && !isCIDR('x')`,
		// format
		`!format.dns1123Label().validate('abc').hasValue() && format.dns1123Label().validate('Abc').value().size() == 1`,
		`format.named('uuid').value() == format.uuid() && !format.named('x').hasValue()`,
		`format.date().validate('x').value() == ['invalid date']`,
		// semver
		`semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.2.3').compareTo(semver('1.2.3-a')) == 1 && semver('v1.02', true) == semver('1.2.0')`,
		`semver('1.2.3').major() == 1 && semver('1.2.3').minor() == 2 && semver('1.2.3').patch() == 3 && !isSemver('1.2') && isSemver('1.2', true)`,
		// the extensions and options of the language
		`'%s %d'.format([self, 1]) == 'a1 b2 1' && self.split(' ').join('-') == 'a1-b2' && sets.contains([1, 2], [1])`,
		`[1, 2].transformList(i, v, i + v) == [1, 3] && {'a': 1}.transformMap(k, v, v + 1) == {'a': 2} && [3, 1].sort() == [1, 3]`,
		`1 < 2.5 && optional.of(1).orValue(2) == 1 && {'a': 1}[?'b'].orValue(3) == 3`,
		`timestamp('2024-01-01T00:00:00Z').getFullYear() == 2024`,
	} {
		s := &apiextensionsv1.JSONSchemaProps{Type: "string", XValidations: apiextensionsv1.ValidationRules{{Rule: text}}}
		s.MaxLength = new(int64)
		*s.MaxLength = 20
		for _, err := range env.CheckSchema(s, field.NewPath("s"), cel.SchemaCheck{}) {
			require.Equal(t, field.ErrorTypeForbidden, err.Type, err) // what is estimated to cost too much
		}
		errs, left := env.Rules(s, false).Validate(t.Context(), nil, "a1 b2", nil, cel.Budget)
		require.Empty(t, texts(errs), text)
		require.Less(t, left, int64(cel.Budget), text)
	}
}

// TestLibraryErrors evaluates what fails.
func TestLibraryErrors(t *testing.T) {
	env := cel.New()
	for text, want := range map[string]string{
		`url('../x') == url('/')`:                        "URL parse error during conversion from string",
		`ip('1.2.3') == ip('1.2.3')`:                     `IP Address "1.2.3" parse error`,
		`ip('fe80::1%e') == ip('::1')`:                   "with zone value is not allowed",
		`cidr('::ffff:1.2.3.4/120').prefixLength() == 1`: "network address parse error",
		`quantity('x') == quantity('1')`:                 "quantities must match",
		`quantity('1.5').asInteger() == 1`:               "cannot convert value to integer",
		`semver('1.2') == semver('1.2.3')`:               "No Major.Minor.Patch elements found",
		`semver('1-a', true).major() == 1`:               "short version cannot contain PreRelease/Build meta data",
		`[1].filter(x, x > 2).min() == 1`:                "min called on empty list",
		`self.find('[' + self) == ''`:                    "Illegal regex",
		`cidr('10.0.0.0/8').containsIP(self)`:            "no such overload",
	} {
		s := &apiextensionsv1.JSONSchemaProps{Type: "string", XValidations: apiextensionsv1.ValidationRules{{Rule: text}}}
		errs, _ := env.Rules(s, false).Validate(t.Context(), nil, "a1 b2", nil, cel.Budget)
		require.Len(t, errs, 1, text)
		require.Contains(t, errs[0].Error(), want, text)
	}
}
