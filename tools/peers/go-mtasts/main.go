// go-mtasts asks the library of the maddy mail server for a domain's policy, over the system's DNS
// and HTTPS on port 443, and prints what it understood as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	mtasts "github.com/foxcpp/go-mtasts"
)

// seen keeps what the library would cache: only the cache is told the id.
type seen struct {
	ID     string      `json:"id"`
	Mode   mtasts.Mode `json:"mode"`
	MaxAge int         `json:"max_age"`
	MX     []string    `json:"mx"`
}

func (*seen) List() ([]string, error) { return nil, nil }

func (*seen) Load(string) (string, time.Time, *mtasts.Policy, error) {
	return "", time.Time{}, nil, mtasts.ErrNoPolicy
}

func (s *seen) Store(_, id string, _ time.Time, policy *mtasts.Policy) error {
	*s = seen{ID: id, Mode: policy.Mode, MaxAge: policy.MaxAge, MX: policy.MX}
	return nil
}

func main() {
	if len(os.Args) != 2 {
		fail("usage: go-mtasts DOMAIN")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	store := new(seen)
	cache := mtasts.NewNopCache()
	cache.Store = store
	if _, err := cache.Get(ctx, os.Args[1]); err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(store); err != nil {
		fail(err)
	}
}

func fail(why any) {
	fmt.Fprintln(os.Stderr, "go-mtasts:", why)
	os.Exit(1)
}
