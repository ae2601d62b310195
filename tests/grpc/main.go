// Command grpc is a client of the standard health service, and its server, as anybody writes them
// with grpc-go. The client calls one method through the gateway and tells, as JSON, what the library
// makes of it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	service "google.golang.org/grpc/health"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// tokenVariable holds the bearer token, so that it is in no process list.
const tokenVariable = "GRPC_TOKEN"

type outcome struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Serving string `json:"serving,omitempty"`
}

func main() {
	listen := flag.String("serve", "", "host:port to serve on, instead of calling")
	target := flag.String("target", "", "host:port of the gateway")
	watch := flag.Bool("watch", false, "call Watch, which streams, instead of Check")
	flag.Parse()
	if err := run(*listen, *target, *watch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(listen, target string, watch bool) error {
	if listen != "" {
		listener, err := net.Listen("tcp", listen)
		if err != nil {
			return err
		}
		return server().Serve(listener)
	}
	told, err := ask(target, os.Getenv(tokenVariable), watch)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(told)
}

// server answers Check and Watch without TLS.
func server(options ...grpc.ServerOption) *grpc.Server {
	server := grpc.NewServer(options...)
	health.RegisterHealthServer(server, service.NewServer())
	return server
}

// ask calls the service at target, with a token if there is one, and tells how it ended.
func ask(target, token string, watch bool) (outcome, error) {
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return outcome{}, err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	answer, err := call(ctx, health.NewHealthClient(connection), watch)
	told := outcome{Code: status.Code(err).String(), Message: status.Convert(err).Message()}
	if err == nil {
		told.Serving = answer.GetStatus().String()
	}
	return told, nil
}

// call asks once; of a stream it reads the first message.
func call(ctx context.Context, client health.HealthClient, watch bool) (*health.HealthCheckResponse, error) {
	if !watch {
		return client.Check(ctx, &health.HealthCheckRequest{})
	}
	stream, err := client.Watch(ctx, &health.HealthCheckRequest{})
	if err != nil {
		return nil, err
	}
	return stream.Recv()
}
