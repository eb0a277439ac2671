package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// result is what a case measured, in the order in which it is shown.
type result struct {
	Case  string
	names []string
	value map[string]any
}

func newResult(name string) *result { return &result{Case: name, value: map[string]any{}} }

// set notes a figure. Durations are in ms.
func (r *result) set(name string, value any) {
	if d, ok := value.(time.Duration); ok {
		value = round(float64(d) / float64(time.Millisecond))
	}
	if f, ok := value.(float64); ok {
		value = round(f)
	}
	if _, there := r.value[name]; !there {
		r.names = append(r.names, name)
	}
	r.value[name] = value
}

// round keeps four digits.
func round(f float64) float64 {
	var g float64
	fmt.Sscanf(fmt.Sprintf("%.4g", f), "%g", &g)
	return g
}

// show prints a line for people, and appends one for programs to a file.
func (r *result) show(w io.Writer, label, file string) error {
	var line strings.Builder
	fmt.Fprintf(&line, "%-8s %-12s", r.Case, label)
	all := map[string]any{"case": r.Case, "label": label}
	for _, name := range r.names {
		fmt.Fprintf(&line, " %s=%v", name, r.value[name])
		all[name] = r.value[name]
	}
	fmt.Fprintln(w, line.String())
	if file == "" {
		return nil
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(text, '\n')); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// quantiles notes how long things took.
func (r *result) quantiles(name string, all []time.Duration) {
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	r.set(name+"_p50_ms", all[len(all)/2])
	r.set(name+"_p99_ms", all[len(all)*99/100])
	r.set(name+"_max_ms", all[len(all)-1])
}
