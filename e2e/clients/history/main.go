// Clients that write, read, list and watch a few ConfigMaps while the server is killed and started again, and the question
// whether what they saw is linearizable. porcupine answers it.
//
//	history DIR SECONDS CLIENTS
//
// DIR is the data directory of an instance: its address and the administrator's certificate are read there, again and
// again, because both change with a restart. Exit code 0 and a summary, or 1 and what cannot have happened.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	collection = "/api/v1/namespaces/default/configmaps"
	keys       = 5
	patience   = 2 * time.Second
	// How long a watch that was to last a second may last, and how long the end may take to come.
	watchMax = 20 * time.Second
	endMax   = time.Minute
)

// input is what a client asked for.
type input struct {
	key   string
	verb  string
	value string
	// The version a put replaces.
	version int64
}

// output is what it was told.
type output struct {
	// 0: nobody knows what came of it.
	code    int
	value   string
	version int64
}

// state of one key. A version of -1 is one that nobody was told.
type state struct {
	exists  bool
	value   string
	version int64
}

type object struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Data map[string]string `json:"data"`
}

func (o object) version() int64 {
	number, _ := strconv.ParseInt(o.Metadata.ResourceVersion, 10, 64)
	return number
}

// client talks to whatever instance runs in dir.
type client struct {
	dir  string
	mu   sync.Mutex
	http *http.Client
	base string
}

// renew reads where the instance is; false while there is none.
func (c *client) renew() bool {
	var found struct {
		API string `json:"api"`
	}
	text, err := os.ReadFile(filepath.Join(c.dir, "instance.json"))
	if err == nil {
		err = json.Unmarshal(text, &found)
	} else {
		// An API server alone says where it is in its kubeconfig only.
		text, err = os.ReadFile(filepath.Join(c.dir, "kubeconfig"))
		if _, rest, ok := strings.Cut(string(text), "server: https://"); ok {
			found.API, _, _ = strings.Cut(rest, "\n")
		}
	}
	if err != nil || found.API == "" {
		return false
	}
	file := func(name string) string { return filepath.Join(c.dir, "pki", name) }
	pair, err := tls.LoadX509KeyPair(file("admin.crt"), file("admin.key"))
	if err != nil {
		return false
	}
	pool := x509.NewCertPool()
	ca, err := os.ReadFile(file("ca.crt"))
	if err != nil || !pool.AppendCertsFromPEM(ca) {
		return false
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base = "https://" + found.API
	c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64}}
	return true
}

func (c *client) current() (*http.Client, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.http, c.base
}

// refused is the code of what never reached a server.
const refused = -1

// send gives the code, 0 where no answer came, and the body.
func (c *client) send(method, path string, body any) (int, []byte) {
	web, base := c.current()
	text := []byte{}
	if body != nil {
		text, _ = json.Marshal(body)
	}
	request, err := http.NewRequest(method, base+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil
	}
	request.Header.Set("Content-Type", "application/json")
	limited := *web
	limited.Timeout = patience
	answer, err := limited.Do(request)
	if err != nil {
		c.renew()
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			return refused, nil
		}
		return 0, nil
	}
	defer answer.Body.Close()
	read, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, nil
	}
	if answer.StatusCode >= 500 {
		// A store that does not answer may have done it nevertheless.
		return 0, nil
	}
	return answer.StatusCode, read
}

// recorder keeps the history, each operation with when it began and ended.
type recorder struct {
	mu    sync.Mutex
	began time.Time
	all   []porcupine.Operation
}

func (r *recorder) now() int64 { return time.Since(r.began).Nanoseconds() }

func (r *recorder) add(who int, asked input, call int64, told output) {
	if told.code == refused || told.code == 0 && (asked.verb == "get" || asked.verb == "list") {
		return
	}
	end := r.now()
	if told.code == 0 {
		// It may happen whenever it likes.
		end = int64(1) << 62
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, porcupine.Operation{ClientId: who, Input: asked, Call: call, Output: told, Return: end})
}

func configMap(name, value string, version int64) map[string]any {
	metadata := map[string]any{"name": name}
	if version > 0 {
		metadata["resourceVersion"] = strconv.FormatInt(version, 10)
	}
	return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": map[string]string{"v": value}}
}

// work sends operations until stop. Versions it saw are what it replaces.
func work(c *client, r *recorder, who int, stop time.Time) {
	random := rand.New(rand.NewSource(int64(who)))
	seen := map[string]int64{}
	for n := 0; time.Now().Before(stop); n++ {
		key := fmt.Sprintf("k%d", random.Intn(keys))
		asked := input{key: key, value: fmt.Sprintf("%d-%d", who, n)}
		path := collection + "/" + key
		var code int
		var body []byte
		call := r.now()
		switch pick := random.Intn(20); {
		case pick < 7:
			asked.verb, asked.value = "get", ""
			code, body = c.send("GET", path, nil)
		case pick < 8:
			code, body = c.send("GET", collection, nil)
			list(r, who, call, code, body)
			continue
		case pick < 16 && seen[key] > 0:
			asked.verb, asked.version = "put", seen[key]
			code, body = c.send("PUT", path, configMap(key, asked.value, asked.version))
		case pick < 18:
			asked.verb = "create"
			code, body = c.send("POST", collection, configMap(key, asked.value, 0))
		default:
			asked.verb, asked.value = "delete", ""
			code, body = c.send("DELETE", path, nil)
		}
		told := output{code: code}
		var found object
		if code/100 == 2 && asked.verb != "delete" && json.Unmarshal(body, &found) == nil {
			told.value, told.version = found.Data["v"], found.version()
			seen[key] = told.version
		}
		r.add(who, asked, call, told)
		if code <= 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// list is a read of every key at once.
func list(r *recorder, who int, call int64, code int, body []byte) {
	var found struct {
		Items []object `json:"items"`
	}
	if code != 200 || json.Unmarshal(body, &found) != nil {
		return
	}
	for i := range keys {
		key := fmt.Sprintf("k%d", i)
		told := output{code: 404}
		for _, one := range found.Items {
			if one.Metadata.Name == key {
				told = output{code: 200, value: one.Data["v"], version: one.version()}
			}
		}
		r.add(who, input{key: key, verb: "get"}, call, told)
	}
}

// watched is what one watcher was told of: versions in order.
type watched struct {
	versions []int64
	broken   string
	resumed  int
}

// finish is where watchers end, once that is known.
type finish struct {
	mu      sync.Mutex
	version int64
	at      time.Time
}

func (f *finish) set(version int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version, f.at = version, time.Now()
}

// reached says whether a watcher is there, and whether it should have been long ago.
func (f *finish) reached(version int64) (there, late bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.version > 0 && version >= f.version, f.version > 0 && time.Since(f.at) > endMax
}

// watch follows the collection from version until the end, across restarts.
func watch(c *client, version int64, end *finish) watched {
	var out watched
	for {
		there, late := end.reached(version)
		if there {
			return out
		}
		if late {
			out.broken = fmt.Sprintf("is at version %d long after the last one, %d, was acknowledged", version, end.version)
			return out
		}
		web, base := c.current()
		limited := *web
		limited.Timeout = watchMax
		answer, err := limited.Get(fmt.Sprintf("%s%s?watch=1&timeoutSeconds=1&allowWatchBookmarks=false&resourceVersion=%d", base, collection, version))
		if os.IsTimeout(err) {
			out.broken = fmt.Sprintf("a watch from version %d was not answered: %v", version, err)
			return out
		}
		if err != nil {
			c.renew()
			time.Sleep(5 * time.Millisecond)
			continue
		}
		out.resumed++
		lines := bufio.NewScanner(answer.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var event struct {
				Type   string `json:"type"`
				Object object `json:"object"`
			}
			if json.Unmarshal(lines.Bytes(), &event) != nil {
				// Cut by a kill.
				break
			}
			if event.Type == "ERROR" {
				out.broken = lines.Text()
				answer.Body.Close()
				return out
			}
			if event.Object.version() <= version {
				out.broken = fmt.Sprintf("an event of version %d after %d", event.Object.version(), version)
			}
			version = event.Object.version()
			if event.Object.Metadata.Name[0] == 'k' {
				out.versions = append(out.versions, version)
			}
		}
		answer.Body.Close()
		if os.IsTimeout(lines.Err()) {
			out.broken = fmt.Sprintf("a watch of one second that is at version %d did not end: %v", version, lines.Err())
			return out
		}
	}
}

// step is what may follow a state.
func step(from, asked, told any) []any {
	now, in, out := from.(state), asked.(input), told.(output)
	written := state{exists: true, value: in.value, version: out.version}
	if out.code == 0 {
		written.version = -1
		switch in.verb {
		case "create":
			if now.exists {
				return []any{now}
			}
			return []any{now, written}
		case "put":
			if !now.exists || now.version != in.version && now.version != -1 {
				return []any{now}
			}
			return []any{now, written}
		default:
			return []any{now, state{}}
		}
	}
	matches := now.exists && (now.version == in.version || now.version == -1)
	switch {
	case out.code == 404:
		if !now.exists && in.verb != "create" {
			return []any{now}
		}
	case in.verb == "get" && out.code == 200:
		if now.exists && now.value == out.value && (now.version == out.version || now.version == -1) {
			return []any{state{exists: true, value: out.value, version: out.version}}
		}
	case in.verb == "create" && out.code == 201:
		if !now.exists {
			return []any{written}
		}
	case in.verb == "create" && out.code == 409:
		if now.exists {
			return []any{now}
		}
	case in.verb == "put" && out.code == 200:
		if matches {
			return []any{written}
		}
	case in.verb == "put" && out.code == 409:
		if now.exists && (now.version != in.version || now.version == -1) {
			return []any{now}
		}
	case in.verb == "delete" && out.code == 200:
		if now.exists {
			return []any{state{}}
		}
	}
	return nil
}

func model() porcupine.Model {
	kinds := porcupine.NondeterministicModel{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			parts := map[string][]porcupine.Operation{}
			for _, one := range history {
				key := one.Input.(input).key
				parts[key] = append(parts[key], one)
			}
			var out [][]porcupine.Operation
			for _, part := range parts {
				out = append(out, part)
			}
			return out
		},
		Init:  func() []any { return []any{state{}} },
		Step:  step,
		Equal: func(a, b any) bool { return a == b },
	}
	return kinds.ToModel()
}

// order says what is wrong with the versions of acknowledged writes: each is new, and later writes have later ones.
func order(history []porcupine.Operation) string {
	var writes []porcupine.Operation
	for _, one := range history {
		if one.Input.(input).verb != "get" && one.Output.(output).version > 0 {
			writes = append(writes, one)
		}
	}
	sort.Slice(writes, func(i, j int) bool { return writes[i].Output.(output).version < writes[j].Output.(output).version })
	last := int64(0)
	for i, one := range writes {
		version := one.Output.(output).version
		if i > 0 && version == writes[i-1].Output.(output).version {
			return fmt.Sprintf("version %d was given twice", version)
		}
		if one.Return < last {
			return fmt.Sprintf("the write of version %d ended before an earlier one began", version)
		}
		last = max(last, one.Call)
	}
	return ""
}

func fail(format string, arguments ...any) {
	fmt.Printf(format+"\n", arguments...)
	os.Exit(1)
}

func main() {
	if len(os.Args) != 4 {
		fail("history DIR[,DIR] SECONDS CLIENTS")
	}
	seconds, _ := strconv.Atoi(os.Args[2])
	clients, _ := strconv.Atoi(os.Args[3])
	// Several servers of one cluster: each has its part of the clients.
	var servers []*client
	for _, dir := range strings.Split(os.Args[1], ",") {
		server := &client{dir: dir}
		if !server.renew() {
			fail("no instance in %s", dir)
		}
		servers = append(servers, server)
	}
	c := servers[0]
	var first struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	_, body := c.send("GET", collection, nil)
	if json.Unmarshal(body, &first) != nil {
		fail("the collection can't be listed")
	}
	start, _ := strconv.ParseInt(first.Metadata.ResourceVersion, 10, 64)

	r := &recorder{began: time.Now()}
	stop := time.Now().Add(time.Duration(seconds) * time.Second)
	end := &finish{}
	var workers, watchers sync.WaitGroup
	for who := range clients {
		workers.Add(1)
		go func() { defer workers.Done(); work(servers[who%len(servers)], r, who, stop) }()
	}
	seen := make([]watched, 4)
	for i := range seen {
		watchers.Add(1)
		go func() { defer watchers.Done(); seen[i] = watch(servers[i%len(servers)], start, end) }()
	}
	workers.Wait()
	// One more write, for the watchers to end at.
	for ended := time.Now(); ; {
		code, body := c.send("POST", collection, configMap(fmt.Sprintf("last-%d", time.Now().UnixNano()), "", 0))
		var last object
		if code == 201 && json.Unmarshal(body, &last) == nil {
			end.set(last.version())
			break
		}
		if time.Since(ended) > endMax {
			fail("no write is acknowledged any more: %d %s", code, body)
		}
		time.Sleep(10 * time.Millisecond)
	}
	watchers.Wait()

	codes := map[string]int{}
	for _, one := range r.all {
		codes[fmt.Sprintf("%s %d", one.Input.(input).verb, one.Output.(output).code)]++
	}
	unknown := 0
	told := map[int64]bool{}
	for _, version := range seen[0].versions {
		told[version] = true
	}
	for _, one := range r.all {
		out := one.Output.(output)
		if out.code == 0 {
			unknown++
		}
		if one.Input.(input).verb != "get" && out.version > 0 && !told[out.version] {
			fail("no watcher was told of version %d", out.version)
		}
	}
	for i, one := range seen {
		if one.broken != "" {
			fail("watcher %d: %s", i, one.broken)
		}
		if fmt.Sprint(one.versions) != fmt.Sprint(seen[0].versions) {
			fail("watchers 0 and %d were told different things: %d and %d events", i, len(seen[0].versions), len(one.versions))
		}
	}
	if why := order(r.all); why != "" {
		fail("%s", why)
	}
	switch porcupine.CheckOperationsTimeout(model(), r.all, 2*time.Minute) {
	case porcupine.Illegal:
		fail("%d operations are not linearizable: %v", len(r.all), codes)
	case porcupine.Unknown:
		fail("%d operations could not be judged in time", len(r.all))
	}
	fmt.Printf("linearizable: %d operations of %d clients on %d keys, %d of unknown outcome; 4 watchers were told the same %d events in %d streams\n",
		len(r.all), clients, keys, unknown, len(seen[0].versions), seen[0].resumed)
}
