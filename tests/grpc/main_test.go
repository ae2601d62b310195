package main

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func serving(t *testing.T, options ...grpc.ServerOption) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := server(options...)
	t.Cleanup(server.Stop)
	go server.Serve(listener)
	return listener.Addr().String()
}

func TestAServedCallTellsThatTheServerServes(t *testing.T) {
	target := serving(t)
	for _, watch := range []bool{false, true} {
		told, err := ask(target, "", watch)
		if err != nil || told != (outcome{Code: "OK", Serving: "SERVING"}) {
			t.Errorf("watch %v: %v %v", watch, told, err)
		}
	}
}

func TestARefusedCallTellsStatusAndMessageAndTheTokenIsSent(t *testing.T) {
	refuse := func(ctx context.Context) error {
		sent, _ := metadata.FromIncomingContext(ctx)
		return status.Errorf(codes.PermissionDenied, "no: %v", sent["authorization"])
	}
	target := serving(t,
		grpc.UnaryInterceptor(func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
			return nil, refuse(ctx)
		}),
		grpc.StreamInterceptor(func(_ any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, _ grpc.StreamHandler) error {
			return refuse(stream.Context())
		}))
	for _, watch := range []bool{false, true} {
		told, err := ask(target, "t", watch)
		if err != nil || told != (outcome{Code: "PermissionDenied", Message: "no: [Bearer t]"}) {
			t.Errorf("watch %v: %v %v", watch, told, err)
		}
	}
}
