package openapi

import (
	"reflect"
	"strings"
)

// describedHere describes what has no description of its own: the Go types of definitions and API services, whose
// modules have no SwaggerDoc methods. An empty field is the type itself.
func describedHere(rt reflect.Type, field string) string {
	if rt == nil {
		return ""
	}
	var text string
	switch rt.PkgPath() {
	case "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1":
		text = definitionTexts(rt.Name())
	case "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1":
		text = serviceTexts(rt.Name())
	default:
		return ""
	}
	if field == "metadata" {
		return "metadata of the object: its name, labels, annotations and what the server keeps of it"
	}
	for line := range strings.SplitSeq(text, "\n") {
		if name, rest, ok := strings.Cut(line, ": "); ok && name == field {
			return rest
		}
	}
	return ""
}

// definitionTexts are the descriptions of a type of apiextensions.k8s.io/v1 and its fields, a line each.
func definitionTexts(name string) string {
	switch name {
	case "CustomResourceDefinition":
		return `: CustomResourceDefinition is a resource that the server has besides its own. Its name is the plural, a point and the group.
spec: how the resource is to be
status: what has become of it`
	case "CustomResourceDefinitionSpec":
		return `: CustomResourceDefinitionSpec says how a resource is to be.
group: the API group: objects are at /apis/<group>/…
names: what the resource and its kind are called
scope: whether objects belong to a namespace or to the cluster: Namespaced or Cluster
versions: the versions of the API, one of which is that of storage. Clients prefer v2 to v1, v1 to v1beta1, v1beta1 to v1alpha1, and these to other names.
conversion: how objects get from one version to another
preserveUnknownFields: must be false: x-kubernetes-preserve-unknown-fields in a schema says where fields may be unknown`
	case "CustomResourceConversion":
		return `: CustomResourceConversion says how objects get from one version to another.
strategy: None changes the apiVersion alone, Webhook asks a server
webhook: the server that is asked where the strategy is Webhook`
	case "WebhookConversion":
		return `: WebhookConversion is a server that converts objects.
clientConfig: where the server is, and how it proves what it is
conversionReviewVersions: the versions of ConversionReview that the server understands, the best first`
	case "WebhookClientConfig":
		return `: WebhookClientConfig says where a server is: url or service, one of them.
url: the address, https://host:port/path, without user, query or fragment
service: the service that the server is behind
caBundle: certificates in PEM by which the server's is verified; those of the system if there are none`
	case "ServiceReference":
		return `: ServiceReference names a service.
namespace: its namespace
name: its name
path: the path that requests go to
port: the port of the service, 443 by default`
	case "CustomResourceDefinitionVersion":
		return `: CustomResourceDefinitionVersion is one version of the API.
name: its name: v1, v1beta1 and such
served: whether clients may use it
storage: whether objects are stored in it, as they are in exactly one
deprecated: whether its users are warned
deprecationWarning: what they are told; a text of the server by default
schema: what objects consist of
subresources: the parts of objects that have requests of their own
additionalPrinterColumns: columns of tables; the age by default
selectableFields: fields that field selectors may name, besides name and namespace; at most 8`
	case "SelectableField":
		return `: SelectableField is a field that selectors may name.
jsonPath: the path to it, .spec.color; a string, number or boolean outside of lists`
	case "CustomResourceColumnDefinition":
		return `: CustomResourceColumnDefinition is a column of tables.
name: its heading
type: integer, number, string, boolean or date
format: how clients may show it; name marks the column with the object's name
description: what is in it
priority: 0 is shown always, more in wide tables
jsonPath: the path to what is shown, .spec.color`
	case "CustomResourceDefinitionNames":
		return `: CustomResourceDefinitionNames are the names of a resource and its kind.
plural: the name in paths, in lower case
singular: the name of one, in lower case; that of the kind by default
shortNames: what users may write instead
kind: the kind of objects, as in their field kind
listKind: the kind of lists; that of objects and List by default
categories: groups of resources that it is shown with, such as all`
	case "CustomResourceDefinitionCondition":
		return `: CustomResourceDefinitionCondition is something that is the case or not.
type: what: Established, NamesAccepted, NonStructuralSchema, Terminating, …
status: whether it is the case: True, False or Unknown
lastTransitionTime: since when
reason: why, in a word
message: why, for people
observedGeneration: the generation of the definition that this is about`
	case "CustomResourceDefinitionStatus":
		return `: CustomResourceDefinitionStatus says what has become of a definition.
conditions: what is the case and what is not
acceptedNames: the names in use, which differ from those asked for where others have these
storedVersions: versions in which objects may be stored; none of them can be taken out of the spec
observedGeneration: the generation that was last looked at`
	case "CustomResourceValidation":
		return `: CustomResourceValidation says what objects consist of.
openAPIV3Schema: the schema by which objects are pruned, defaulted and validated`
	case "CustomResourceSubresources":
		return `: CustomResourceSubresources are parts of objects that have requests of their own.
status: the status: requests to it write nothing else, and other requests don't write it
scale: the number of replicas, as an object of kind Scale`
	case "CustomResourceSubresourceStatus":
		return `: CustomResourceSubresourceStatus asks for the subresource status.`
	case "CustomResourceSubresourceScale":
		return `: CustomResourceSubresourceScale says where in objects the number of replicas is.
specReplicasPath: the path to the number that is wanted, below .spec
statusReplicasPath: the path to the number that there is, below .status
labelSelectorPath: the path to the selector of what is counted, a text below .status or .spec`
	case "JSONSchemaProps":
		return schemaTexts
	case "ValidationRule":
		return `: ValidationRule is an expression of CEL that must hold.
rule: the expression; self is the value, oldSelf what it was before
message: what is said where it doesn't hold
messageExpression: an expression of CEL for what is said
reason: the reason of the error: FieldValueInvalid, FieldValueForbidden, FieldValueRequired or FieldValueDuplicate
fieldPath: the field that the error is about, as a path from the value
optionalOldSelf: evaluate the rule also where there is no old value: oldSelf is an optional then`
	case "ExternalDocumentation":
		return `: ExternalDocumentation refers to a text elsewhere.
description: what it is
url: where it is`
	case "JSON":
		return `: JSON is any value.`
	case "JSONSchemaPropsOrArray":
		return `: JSONSchemaPropsOrArray is a schema, or a list of them.`
	case "JSONSchemaPropsOrBool":
		return `: JSONSchemaPropsOrBool is a schema, or whether anything is allowed.`
	case "JSONSchemaPropsOrStringArray":
		return `: JSONSchemaPropsOrStringArray is a schema, or a list of names.`
	}
	return ""
}

const schemaTexts = `: JSONSchemaProps is a schema of JSON, as OpenAPI has it.
description: what the value is for
type: object, array, string, integer, number or boolean
format: what a string or number is in detail: date-time, int32, …
title: a heading
default: what the value is where it is left out
maximum: the largest number
exclusiveMaximum: whether the largest number is itself too large
minimum: the smallest number
exclusiveMinimum: whether the smallest number is itself too small
maxLength: the length of the longest string, in characters
minLength: the length of the shortest string, in characters
pattern: a regular expression that strings match
maxItems: the length of the longest list
minItems: the length of the shortest list
uniqueItems: must not be true: x-kubernetes-list-type says it
multipleOf: what numbers are multiples of
enum: the values that there are
maxProperties: how many fields an object has at most
minProperties: how many fields an object has at least
required: the fields that an object must have
items: the schema of items of a list
allOf: schemas all of which hold
oneOf: schemas of which exactly one holds
anyOf: schemas of which at least one holds
not: a schema that doesn't hold
properties: the schemas of fields by their names
additionalProperties: the schema of fields with any name
externalDocs: a text elsewhere
example: an example
nullable: whether null is a value
x-kubernetes-preserve-unknown-fields: whether fields are kept that the schema doesn't know
x-kubernetes-embedded-resource: whether the value is an object with apiVersion, kind and metadata
x-kubernetes-int-or-string: whether the value is an integer or a string
x-kubernetes-list-map-keys: the fields that tell items of a list apart that is a map
x-kubernetes-list-type: how items of a list are told apart: atomic, set or map
x-kubernetes-map-type: whether an object is owned by field, granular, or as a whole, atomic
x-kubernetes-validations: expressions that must hold`

// serviceTexts are the descriptions of a type of apiregistration.k8s.io/v1 and its fields, a line each.
func serviceTexts(name string) string {
	switch name {
	case "APIService":
		return `: APIService is a group and version that the server has, or that another has behind it. Its name is the version, a point and the group.
spec: which group and version, and who has it
status: whether it can be used`
	case "APIServiceSpec":
		return `: APIServiceSpec says who has a group and version.
service: the service in front of the other server; none: this server itself
group: the API group
version: the version of it
insecureSkipTLSVerify: don't verify the other server's certificate
caBundle: certificates in PEM by which the other server's is verified; those of the system if there are none
groupPriorityMinimum: the least priority of the group: those with more come first
versionPriority: the priority of the version within its group: those with more come first`
	case "ServiceReference":
		return `: ServiceReference names a service.
namespace: its namespace
name: its name
port: its port, 443 by default`
	case "APIServiceStatus":
		return `: APIServiceStatus says whether a group and version can be used.
conditions: what is the case and what is not`
	case "APIServiceCondition":
		return `: APIServiceCondition is something that is the case or not.
type: what: Available
status: whether it is the case: True, False or Unknown
lastTransitionTime: since when
reason: why, in a word
message: why, for people`
	}
	return ""
}
