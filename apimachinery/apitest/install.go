package apitest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/bedplate/bedplate/apimachinery/client"
)

// install installs the definitions of the configuration.
func (a *API) install(ctx context.Context) error {
	all := a.c.CRDs
	for _, path := range a.c.CRDPaths {
		more, err := ReadCRDs(path)
		if err != nil {
			return err
		}
		all = append(all, more...)
	}
	return a.InstallCRDs(ctx, all...)
}

// InstallCRDs makes definitions, or brings those that are there up to date, and returns when they are served.
func (a *API) InstallCRDs(ctx context.Context, crds ...*apiext.CustomResourceDefinition) error {
	definitions := client.For[*apiext.CustomResourceDefinition](a.Client())
	for _, d := range crds {
		d = d.DeepCopy()
		if err := a.localConversion(d); err != nil {
			return err
		}
		_, err := definitions.Create(ctx, d)
		if present(err) == nil && err != nil {
			err = client.RetryOnConflict(ctx, func(ctx context.Context) error {
				have, err := definitions.Get(ctx, "", d.Name)
				if err != nil {
					return err
				}
				have.Spec, have.Labels, have.Annotations = d.Spec, d.Labels, d.Annotations
				_, err = definitions.Update(ctx, have)
				return err
			})
		}
		if err != nil {
			return fmt.Errorf("install %s: %w", d.Name, err)
		}
		if err := a.awaitServed(ctx, d); err != nil {
			return fmt.Errorf("install %s: %w", d.Name, err)
		}
	}
	return nil
}

// awaitServed returns when a definition is served, or it is clear that it won't be.
func (a *API) awaitServed(ctx context.Context, d *apiext.CustomResourceDefinition) error {
	at := slices.IndexFunc(d.Spec.Versions, func(v apiext.CustomResourceDefinitionVersion) bool { return v.Served })
	if at < 0 {
		return nil
	}
	gvr := schema.GroupVersionResource{Group: d.Spec.Group, Version: d.Spec.Versions[at].Name, Resource: d.Spec.Names.Plural}
	a.custom.Await(ctx, gvr)
	if a.registry.Served(gvr) {
		return nil
	}
	have, err := client.For[*apiext.CustomResourceDefinition](a.Client()).Get(ctx, "", d.Name)
	if err != nil {
		return err
	}
	for _, c := range have.Status.Conditions {
		if c.Status == apiext.ConditionFalse {
			return fmt.Errorf("it is not served: %s: %s", c.Reason, c.Message)
		}
	}
	return errors.New("it is not served")
}

// ReadCRDs reads the definitions of a file, or of the files of a folder with the endings yaml, yml and json. Other
// objects are left out, and a file that can't be read is an error.
func ReadCRDs(path string) (all []*apiext.CustomResourceDefinition, err error) {
	files := []string{path}
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("read definitions: %w", err)
	} else if info.IsDir() {
		if files, err = filesIn(path); err != nil {
			return nil, fmt.Errorf("read definitions: %w", err)
		}
	}
	for _, file := range files {
		err := readObjects(file, func(kind v1.TypeMeta, raw []byte) error {
			if kind.Kind != "CustomResourceDefinition" || kind.APIVersion != apiext.SchemeGroupVersion.String() {
				return nil
			}
			d := &apiext.CustomResourceDefinition{}
			all = append(all, d)
			return yaml.Unmarshal(raw, d)
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func filesIn(dir string) (files []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !e.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, err
}

// readObjects hands the documents of a file over, with the kinds that they name.
func readObjects(file string, take func(kind v1.TypeMeta, raw []byte) error) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		raw, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var kind v1.TypeMeta
		if err == nil {
			err = yaml.Unmarshal(raw, &kind)
		}
		if err == nil && len(bytes.TrimSpace(raw)) > 0 {
			err = take(kind, raw)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
	}
}
