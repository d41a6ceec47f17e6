// Command takes serves POST /v1/limits/take by redis_rate: what a Go engineer would write in an hour, on net/http.
//
//	takes SOCKET DESCRIPTOR KEY LIMIT
//
// SOCKET is the unix socket of the server, DESCRIPTOR a bound and listening socket, KEY the bearer token, and LIMIT the
// requests an hour of each key. It answers what our service does: the decision, and the limit in fields of the response.
package main

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
)

const (
	bodyBytesMax = 4096
	connections  = 64 // as many as requests at a time, so that none waits for another's
)

type take struct {
	Policy string `json:"policy"`
	Key    string `json:"key"`
	Cost   int    `json:"cost"`
}

type window struct {
	Limit        int   `json:"limit"`
	WindowMs     int64 `json:"window_ms"`
	Remaining    int   `json:"remaining"`
	ResetAfterMs int64 `json:"reset_after_ms"`
}

type decision struct {
	Allowed      bool     `json:"allowed"`
	Policy       string   `json:"policy"`
	Key          string   `json:"key"`
	Cost         int      `json:"cost"`
	Limits       []window `json:"limits"`
	RetryAfterMs *int64   `json:"retry_after_ms"`
}

type service struct {
	limiter  *redis_rate.Limiter
	policies map[string]redis_rate.Limit
	bearer   []byte
}

func (s *service) take(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), s.bearer) != 1 {
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	asked := take{Cost: 1}
	if err != nil || json.Unmarshal(body, &asked) != nil || asked.Key == "" || asked.Cost < 1 {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	limit, known := s.policies[asked.Policy]
	if !known {
		http.Error(w, "no such policy", http.StatusNotFound)
		return
	}
	found, err := s.limiter.AllowN(r.Context(), asked.Policy+":"+asked.Key, limit, asked.Cost)
	if err != nil {
		http.Error(w, "the store does not answer", http.StatusServiceUnavailable)
		return
	}
	answer(w, asked, limit, found)
}

func answer(w http.ResponseWriter, asked take, limit redis_rate.Limit, found *redis_rate.Result) {
	resetMs := found.ResetAfter.Milliseconds()
	state := window{limit.Rate, limit.Period.Milliseconds(), found.Remaining, resetMs}
	told := decision{found.Allowed > 0, asked.Policy, asked.Key, asked.Cost, []window{state}, nil}
	status, head := http.StatusOK, w.Header()
	if !told.Allowed {
		retryMs := found.RetryAfter.Milliseconds()
		told.RetryAfterMs = &retryMs
		status = http.StatusTooManyRequests
		head.Set("Retry-After", strconv.FormatInt((retryMs+999)/1000, 10))
	}
	text, err := json.Marshal(told)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	head.Set("RateLimit-Policy", fmt.Sprintf("%q;q=%d;w=%d", asked.Policy, limit.Rate, int(limit.Period.Seconds())))
	head.Set("RateLimit", fmt.Sprintf("%q;r=%d;t=%d", asked.Policy, found.Remaining, (resetMs+999)/1000))
	head.Set("Content-Type", "application/json")
	head.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that is gone needs no answer
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: takes SOCKET DESCRIPTOR KEY LIMIT")
	}
	descriptor, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	units, err := strconv.Atoi(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	listening, err := net.FileListener(os.NewFile(uintptr(descriptor), "listening"))
	if err != nil {
		log.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: os.Args[1], PoolSize: connections})
	hourly := redis_rate.Limit{Rate: units, Burst: units, Period: time.Hour}
	s := &service{redis_rate.NewLimiter(client), map[string]redis_rate.Limit{"api": hourly}, []byte("Bearer " + os.Args[3])}
	routes := http.NewServeMux()
	routes.HandleFunc("POST /v1/limits/take", s.take)
	server := http.Server{Handler: routes, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.Serve(listening))
}
