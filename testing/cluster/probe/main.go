// Command probe is what checks run inside pods: a small server, a client, and ways to end.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	args := append(os.Args[1:], "", "")
	switch args[0] {
	case "serve":
		host, _ := os.Hostname()
		port := args[1]
		if port == "" {
			port = "8080"
		}
		fail(http.ListenAndServe(":"+port, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "hello from %s\n", host)
		})))
	case "get":
		answer, err := (&http.Client{Timeout: 2 * time.Second}).Get(args[1])
		fail(err)
		body, err := io.ReadAll(answer.Body)
		fail(err)
		fmt.Print(string(body))
	case "lookup":
		scope, stop := context.WithTimeout(context.Background(), 3*time.Second)
		defer stop()
		addresses, err := net.DefaultResolver.LookupHost(scope, args[1])
		fail(err)
		fmt.Println(strings.Join(addresses, " "))
	case "cat":
		content, err := os.ReadFile(args[1])
		fail(err)
		fmt.Print(string(content))
	case "wait":
		ends := make(chan os.Signal, 1)
		signal.Notify(ends, syscall.SIGTERM)
		<-ends
	case "exit":
		code, err := strconv.Atoi(args[1])
		fail(err)
		os.Exit(code)
	default:
		fmt.Fprintln(os.Stderr, "usage: probe serve [PORT] | get URL | lookup NAME | cat FILE | wait | exit CODE")
		os.Exit(2)
	}
}

func fail(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}
