// Package compose holds kong/compose.yaml to what an operator relies on, as `docker compose` reads the
// file: by the same library and the schema in it. No engine is needed.
package compose

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const folder = "../../kong"

// profiles are off unless they are asked for.
var profiles = []string{"ollama", "postgres", "seeing", "valkey"}

// values of what has to be set; nothing else of this machine's environment is seen.
var required = []string{
	"DECK_KOMBI_ASSERTION_KEY=key", "DECK_KOMBI_AUDIENCE=1", "DECK_KOMBI_CLOUD_URL=http://cloud.example",
	"DECK_KOMBI_HOMELAB_HOST=homelab.example", "DECK_KOMBI_ISSUER=https://id.example",
	"DECK_KOMBI_PORTAL_URL=http://portal.example", "DECK_KOMBI_STRIPE_ADDRESSES=192.0.2.1",
	"DECK_KOMBI_WORKERS_URL=grpc://workers.example:1", "KOMBI_EXCHANGE_ASSERTION_KEYS=key",
	"KOMBI_EXCHANGE_SEAL_KEY=key",
}

func load(t *testing.T, environment []string, profiles ...string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions(
		[]string{folder + "/compose.yaml"},
		cli.WithEnv(environment),
		cli.WithProfiles(profiles),
		cli.WithResolvedPaths(true),
	)
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(context.Background())
}

func loaded(t *testing.T, profiles ...string) *types.Project {
	t.Helper()
	project, err := load(t, required, profiles...)
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestWhatIsOptionalIsOff(t *testing.T) {
	for profiles, expected := range map[string][]string{
		"":         {"exchange", "homelab", "kong"},
		"ollama":   {"exchange", "homelab", "kong", "ollama"},
		"postgres": {"exchange", "homelab", "kong", "postgres"},
		"seeing":   {"alloy", "exchange", "grafana", "homelab", "kong", "loki", "prometheus"},
		"valkey":   {"exchange", "homelab", "kong", "valkey"},
	} {
		names := loaded(t, profiles).ServiceNames()
		slices.Sort(names)
		if !slices.Equal(names, expected) {
			t.Errorf("profile %q: expected %v, found %v", profiles, expected, names)
		}
	}
}

func TestWhatMustBeSetIsAskedFor(t *testing.T) {
	for i, variable := range required {
		others := slices.Delete(slices.Clone(required), i, i+1)
		name, _, _ := strings.Cut(variable, "=")
		if _, err := load(t, others); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

func TestEveryContainerHasAsLittleAsCanBe(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z0-9./-]+:v?[0-9]+\.[0-9]+(\.[0-9]+)?(-alpine)?$`)
	for name, service := range loaded(t, profiles...).Services {
		if service.Privileged || len(service.CapAdd) > 0 || service.NetworkMode == "host" || service.Pid != "" {
			t.Errorf("%s has more than it needs", name)
		}
		if !service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"}) {
			t.Errorf("%s: its root can be written, or it has capabilities", name)
		}
		if !slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s could gain privileges", name)
		}
		if !pinned.MatchString(service.Image) {
			t.Errorf("%s: the version of %s is not said", name, service.Image)
		}
		if service.HealthCheck == nil || service.Restart != "unless-stopped" {
			t.Errorf("%s: nobody notices when it is ill", name)
		}
		limits := service.Deploy
		if limits == nil || limits.Resources.Limits == nil || limits.Resources.Limits.MemoryBytes == 0 ||
			limits.Resources.Limits.NanoCPUs == 0 || limits.Resources.Limits.Pids == 0 {
			t.Errorf("%s could take the whole machine", name)
		}
		for _, volume := range service.Volumes {
			if strings.Contains(volume.Source, "docker.sock") {
				t.Errorf("%s could have the whole machine", name)
			}
			if volume.Type == types.VolumeTypeBind && !volume.ReadOnly {
				t.Errorf("%s could write %s", name, volume.Source)
			}
		}
	}
}

func TestOnlyKongCanBeReachedAndGoOutOnlyWhoMust(t *testing.T) {
	project := loaded(t, profiles...)
	outside := []string{}
	for name, service := range project.Services {
		published := []string{}
		for _, port := range service.Ports {
			published = append(published, port.Published)
			if port.Target != 8443 {
				t.Errorf("%s: expected the port for TLS, found %d", name, port.Target)
			}
		}
		if expected := name == "kong"; (len(published) > 0) != expected {
			t.Errorf("%s publishes %v", name, published)
		}
		if len(service.Networks) == 0 {
			t.Errorf("%s is in the network that everybody is in", name)
		}
		for network := range service.Networks {
			if !project.Networks[network].Internal {
				outside = append(outside, name)
			}
		}
	}
	slices.Sort(outside)
	if !slices.Equal(outside, []string{"exchange", "kong", "ollama"}) {
		t.Errorf("there is a way out for %v", outside)
	}
}

func TestNoSecretIsWithThoseWhoDoNotNeedIt(t *testing.T) {
	secrets := map[string]string{
		"DECK_KOMBI_ASSERTION_KEY": "kong", "KOMBI_EXCHANGE_SEAL_KEY": "exchange",
		"KOMBI_EXCHANGE_PROVIDER_OPENAI_KEY":         "exchange",
		"KOMBI_EXCHANGE_PROVIDER_GEMINI_KEY":         "exchange",
		"KOMBI_EXCHANGE_INTROSPECTION_CLIENT_SECRET": "exchange", "KOMBI_EXCHANGE_SHARED_STORE": "exchange",
		"KOMBI_HOMELAB_SSO_KEY": "homelab", "KOMBI_POSTGRES_PASSWORD": "postgres", "KOMBI_VALKEY_PASSWORD": "valkey",
	}
	for secret, owner := range secrets {
		environment := append(slices.Clone(required), secret+"=CANARY")
		project, err := load(t, environment, profiles...)
		if err != nil {
			t.Fatal(err)
		}
		for name, service := range project.Services {
			has := false
			for _, value := range service.Environment {
				has = has || value != nil && strings.Contains(*value, "CANARY")
			}
			if has != (name == owner) {
				t.Errorf("%s: in the environment of %s: %v", secret, name, has)
			}
			for _, argument := range slices.Concat(service.Command, service.Entrypoint) {
				if strings.Contains(argument, "CANARY") {
					t.Errorf("%s is in a list of processes", secret)
				}
			}
		}
	}
}
