// Command hello is the example service: a web server on 127.0.0.1:8080 that says
// where it runs.
//
//	GET /         host name, pid and the inode number of each of its namespaces
//	GET /healthz  ok
//	GET /crash    ends the process with status 1
//
// It tells its supervisor when it is ready (sd_notify(3)) and finishes the
// requests it has when it is told to stop. `hello -get URL` is the client for a
// network namespace where nothing else is.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

func main() {
	log.SetFlags(0) // the supervisor adds the time
	address := flag.String("listen", "127.0.0.1:8080", "`address` to listen on")
	url := flag.String("get", "", "print what `URL` answers and exit")
	flag.Parse()

	run := func() error { return serve(*address) }
	if *url != "" {
		run = func() error { return get(*url, os.Stdout) }
	}
	if err := run(); err != nil {
		log.Fatalf("hello: %v", err)
	}
}

// serve answers until SIGTERM or SIGINT, then finishes what it has begun.
func serve(address string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	server := &http.Server{Handler: handler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()

	log.Printf("listening on %s", listener.Addr())
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS=listening on "+listener.Addr().String()); err != nil {
		return fmt.Errorf("cannot tell the supervisor: %w", err)
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	daemon.SdNotify(false, daemon.SdNotifyStopping)
	log.Print("stopping")
	finish, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return server.Shutdown(finish)
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { describe(w) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /crash", func(http.ResponseWriter, *http.Request) { log.Fatal("told to crash") })
	return mux
}

// describe writes where this process is: pid_namespaces(7) and its siblings.
func describe(w io.Writer) {
	host, err := os.Hostname()
	if err != nil {
		host = err.Error()
	}
	fmt.Fprintf(w, "hostname %s\npid      %d\n", host, os.Getpid())
	for _, kind := range []string{"mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time"} {
		link, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			link = err.Error()
		}
		fmt.Fprintf(w, "%-8s %s\n", kind, link)
	}
}

// get copies the answer to w; a status other than 200 is an error.
func get(url string, w io.Writer) error {
	client := http.Client{Timeout: 10 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(w, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return nil
}
