package main

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAnswers(t *testing.T) {
	server := httptest.NewServer(handler())
	defer server.Close()
	for path, want := range map[string]string{"/": "hostname ", "/healthz": "ok\n"} {
		var out strings.Builder
		if err := get(server.URL+path, &out); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("GET %s: %v, %q; want %q in it", path, err, out.String(), want)
		}
	}
	var out strings.Builder
	if err := get(server.URL+"/nothing", &out); err == nil {
		t.Errorf("GET /nothing is no error: %q", out.String())
	}
}
