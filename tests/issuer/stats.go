package main

import (
	"net/http"
	"sync/atomic"
)

// stats count how often verifiers asked for what they should keep.
type stats struct {
	discovery     atomic.Int64
	jwks          atomic.Int64
	introspection atomic.Int64
}

func (s *stats) counts() map[string]int64 {
	return map[string]int64{
		"discovery": s.discovery.Load(), "jwks": s.jwks.Load(), "introspection": s.introspection.Load(),
	}
}

func (s *stats) reset() {
	s.discovery.Store(0)
	s.jwks.Store(0)
	s.introspection.Store(0)
}

func counted(count *atomic.Int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		next.ServeHTTP(w, r)
	})
}
