package main

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// runAsIssuer in the environment turns the test binary into the program itself.
const runAsIssuer = "TEST_RUN_AS_ISSUER"

func TestMain(m *testing.M) {
	if os.Getenv(runAsIssuer) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestASignalEndsTheProcessCleanly(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		process := exec.Command(os.Args[0], "--listen", "127.0.0.1:0", "--issuer", "http://issuer.test:8080")
		process.Env = append(os.Environ(), runAsIssuer+"=1")
		process.Stderr = t.Output()
		stdout, err := process.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(deadline, func() { _ = process.Process.Kill() })

		output := bufio.NewReader(stdout)
		ready := readReady(t, output)
		if ready.Issuer != "http://issuer.test:8080" {
			t.Errorf("expected the issuer as told, found %s", ready.Issuer)
		}
		answer, err := http.Get("http://" + ready.Listening + "/.well-known/openid-configuration")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()

		if err := process.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if more, _ := io.ReadAll(output); len(more) != 0 {
			t.Errorf("expected one line on stdout, found more: %q", more)
		}
		if err := process.Wait(); err != nil {
			t.Errorf("%s: expected a clean end, found %v", signal, err)
		}
		kill.Stop()
	}
}

func TestWrongSettingsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--issuer", "http://127.0.0.1:1/"},
		{"--issuer", "http://127.0.0.1:1/path"},
		{"--issuer", "127.0.0.1:1"},
		{"--issuer", "ftp://127.0.0.1:1"},
		{"--project", ""},
		{"--listen", "nowhere"},
		{"--unknown"},
		{"stray"},
	} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%v: expected an error, found none", args)
		}
	}
}
