package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// shipped is what goes into a KombiStack.
	shipped = "../../exchange/kombistack"

	superuserEmail    = "root@kombistack.test"
	superuserPassword = "correct horse battery"

	waitDeadline = time.Minute
	stopDeadline = 5 * time.Second
	pollInterval = 20 * time.Millisecond
)

// runAsKombistack in the environment turns the test binary into the program itself, so that the
// tests run what main builds, as a process of its own.
const runAsKombistack = "TEST_RUN_AS_KOMBISTACK"

func TestMain(m *testing.M) {
	if os.Getenv(runAsKombistack) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// instance is one running KombiStack with the shipped hooks and migrations.
type instance struct {
	t       *testing.T
	baseURL string
	// superuser is the token that configures the instance and looks behind its rules.
	superuser string
}

// answer is what an instance replied.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

// settings is the environment of an instance, as its owner would set it.
type settings map[string]string

func withSettings(id, key string) settings {
	return settings{"KOMBISPHERE_INSTANCE_ID": id, "KOMBISPHERE_SSO_KEY": key}
}

func goodSettings() settings {
	return withSettings(instanceID, instanceKey)
}

func startInstance(t *testing.T) *instance {
	t.Helper()
	return serve(t, install(t), goodSettings())
}

// install puts the shipped folders where the owner of a KombiStack puts them.
func install(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(shipped)); err != nil {
		t.Fatalf("expected what is shipped to be in %s, found %v", shipped, err)
	}
	return dir
}

// serve starts an installed instance and stops it with the test.
func serve(t *testing.T, dir string, environment settings) *instance {
	t.Helper()

	if out, err := kombistack(dir, nil, "superuser", "upsert", superuserEmail, superuserPassword).CombinedOutput(); err != nil {
		t.Fatalf("expected superuser upsert to succeed, found %v:\n%s", err, out)
	}

	address := freeAddress(t)
	server := kombistack(dir, environment, "serve", "--http", address)
	var log bytes.Buffer
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatalf("expected kombistack serve to start, found %v", err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = server.Wait()
	}()
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(stopDeadline):
			_ = server.Process.Kill()
			<-exited
		}
		if t.Failed() {
			t.Logf("the instance's output:\n%s", log.String())
		}
	})

	i := &instance{t: t, baseURL: "http://" + address}
	i.waitUntilReady(exited)
	i.superuser = i.signIn("_superusers", superuserEmail, superuserPassword)

	return i
}

// kombistack is a command of the program in an installed folder.
func kombistack(dir string, environment settings, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], append(args,
		// PocketBase takes a binary in the temporary folder for one in development.
		"--dev=false",
		"--dir", filepath.Join(dir, "pb_data"),
		"--hooksDir", filepath.Join(dir, "pb_hooks"),
		"--migrationsDir", filepath.Join(dir, "pb_migrations"),
	)...)
	cmd.Env = append(os.Environ(), runAsKombistack+"=1")
	for name, value := range environment {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("expected a free port, found %v", err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func (i *instance) waitUntilReady(exited <-chan struct{}) {
	i.t.Helper()
	deadline := time.After(waitDeadline)
	for {
		response, err := http.Get(i.baseURL + "/api/health")
		if err == nil {
			response.Body.Close()
			return
		}
		select {
		case <-exited:
			i.t.Fatal("expected the instance to serve, found that it ended")
		case <-deadline:
			i.t.Fatalf("expected the instance to answer within %s, found %v", waitDeadline, err)
		case <-time.After(pollInterval):
		}
	}
}

// in is the same instance, used by a subtest.
func (i *instance) in(t *testing.T) *instance {
	shared := *i
	shared.t = t
	return &shared
}

// call sends one request; token and body may be empty.
func (i *instance) call(method, path, token string, body any) answer {
	i.t.Helper()

	var sent io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		sent = bytes.NewBufferString(body)
	default:
		encoded, err := json.Marshal(body)
		if err != nil {
			i.t.Fatalf("expected a body that is JSON, found %v", err)
		}
		sent = bytes.NewReader(encoded)
	}

	request, err := http.NewRequest(method, i.baseURL+path, sent)
	if err != nil {
		i.t.Fatalf("expected a valid request, found %v", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", token)
	}

	got, err := send(request)
	if err != nil {
		i.t.Fatalf("%s %s: expected an answer, found %v", method, path, err)
	}
	return got
}

// send may be used off the test's goroutine, where a test must not be failed.
func send(request *http.Request) (answer, error) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()

	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	got := answer{status: response.StatusCode, header: response.Header, raw: string(raw)}
	if strings.HasPrefix(got.header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(raw, &got.body); err != nil {
			return answer{}, fmt.Errorf("expected JSON, found %q", raw)
		}
	}
	return got, nil
}

// mustCall is call for what the test only needs to succeed.
func (i *instance) mustCall(method, path, token string, body any) answer {
	i.t.Helper()
	got := i.call(method, path, token, body)
	if got.status >= 300 {
		i.t.Fatalf("%s %s: expected success, found %d: %s", method, path, got.status, got.raw)
	}
	return got
}

func (i *instance) signIn(collection, identity, password string) string {
	i.t.Helper()
	got := i.mustCall(http.MethodPost, "/api/collections/"+collection+"/auth-with-password", "",
		map[string]any{"identity": identity, "password": password})
	return got.body["token"].(string)
}

// addUser makes a local user as its owner's superuser would.
func (i *instance) addUser(fields map[string]any) map[string]any {
	i.t.Helper()
	user := map[string]any{"password": localPassword, "passwordConfirm": localPassword}
	for name, value := range fields {
		user[name] = value
	}
	return i.mustCall(http.MethodPost, "/api/collections/users/records", i.superuser, user).body
}

// users are all records that the filter finds, hidden fields included.
func (i *instance) users(filter string) []map[string]any {
	i.t.Helper()
	got := i.mustCall(http.MethodGet, "/api/collections/users/records?filter="+url.QueryEscape(filter), i.superuser, nil)
	var records []map[string]any
	for _, item := range got.body["items"].([]any) {
		records = append(records, item.(map[string]any))
	}
	return records
}

func (i *instance) user(id string) map[string]any {
	i.t.Helper()
	return i.mustCall(http.MethodGet, "/api/collections/users/records/"+id, i.superuser, nil).body
}

// changeUsers changes the users collection as its owner would in the dashboard.
func (i *instance) changeUsers(change func(collection map[string]any)) {
	i.t.Helper()
	collection := i.mustCall(http.MethodGet, "/api/collections/users", i.superuser, nil).body
	change(collection)
	i.mustCall(http.MethodPatch, "/api/collections/users", i.superuser, collection)
}

// field is one field of a collection, to be changed in place.
func field(collection map[string]any, name string) map[string]any {
	for _, candidate := range collection["fields"].([]any) {
		if candidate := candidate.(map[string]any); candidate["name"] == name {
			return candidate
		}
	}
	return nil
}
