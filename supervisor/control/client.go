package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
)

// replyMax bounds what a client keeps of one reply; streams are bounded by line.
const replyMax = 64 << 20

// Client talks to a manager. Its methods mirror Backend's, and give *Error for
// what the server refused; anything else (net.OpError inside) means that it
// could not be asked. It is safe for use from several goroutines.
type Client struct {
	path string
	http *http.Client
}

// NewClient gives a client of the socket at path. Nothing is connected yet.
func NewClient(path string) *Client {
	c := &Client{path: path}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		DisableCompression: true,
	}}
	return c
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", c.path)
}

// Version asks what the server is.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return fetch[Version](ctx, c, "/v1/version", nil)
}

// Manager asks for the manager's state.
func (c *Client) Manager(ctx context.Context) (ManagerStatus, error) {
	return fetch[ManagerStatus](ctx, c, "/v1/manager", nil)
}

// List asks for the units that match.
func (c *Client) List(ctx context.Context, q ListQuery) ([]UnitListEntry, error) {
	return fetch[[]UnitListEntry](ctx, c, "/v1/units", url.Values{"pattern": q.Patterns, "state": q.States})
}

// Jobs asks for what is under way.
func (c *Client) Jobs(ctx context.Context) ([]Job, error) {
	return fetch[[]Job](ctx, c, "/v1/jobs", nil)
}

// Startup asks how long starts took.
func (c *Client) Startup(ctx context.Context) (Startup, error) {
	return fetch[Startup](ctx, c, "/v1/startup", nil)
}

// UnitFiles asks for all unit files.
func (c *Client) UnitFiles(ctx context.Context) ([]UnitFileEntry, error) {
	return fetch[[]UnitFileEntry](ctx, c, "/v1/unit-files", nil)
}

// Status asks for one unit.
func (c *Client) Status(ctx context.Context, unit string) (UnitStatus, error) {
	return fetch[UnitStatus](ctx, c, unitPath(unit, ""), nil)
}

// Cat asks for a unit's files.
func (c *Client) Cat(ctx context.Context, unit string) (UnitText, error) {
	return fetch[UnitText](ctx, c, unitPath(unit, "/files"), nil)
}

// Plan asks for what a start would do.
func (c *Client) Plan(ctx context.Context, unit string) (Plan, error) {
	return fetch[Plan](ctx, c, unitPath(unit, "/plan"), nil)
}

// Dependencies asks for a unit's tree.
func (c *Client) Dependencies(ctx context.Context, q DependencyQuery) (Dependency, error) {
	v := url.Values{}
	if q.Reverse {
		v.Set("reverse", "true")
	}
	if q.All {
		v.Set("all", "true")
	}
	return fetch[Dependency](ctx, c, unitPath(q.Unit, "/dependencies"), v)
}

// Kill sends a signal and gives the unit's status after it.
func (c *Client) Kill(ctx context.Context, req KillRequest) (UnitStatus, error) {
	return post[UnitStatus](ctx, c, "/v1/kill", req)
}

// ResetFailed forgets failures; no unit means all.
func (c *Client) ResetFailed(ctx context.Context, units []string) error {
	_, err := post[Empty](ctx, c, "/v1/reset-failed", UnitsRequest{Units: units})
	return err
}

// Machine ends the machine, or takes a scheduled end back.
func (c *Client) Machine(ctx context.Context, action string, req MachineRequest) (MachineReply, error) {
	return post[MachineReply](ctx, c, "/v1/machine/"+url.PathEscape(action), req)
}

// Reload has the unit files read again.
func (c *Client) Reload(ctx context.Context) (ReloadResult, error) {
	return post[ReloadResult](ctx, c, "/v1/reload", Empty{})
}

// Enable makes units wanted at the next start, with Now starts them too.
func (c *Client) Enable(ctx context.Context, req EnableRequest) (EnableReply, error) {
	return post[EnableReply](ctx, c, "/v1/enable", req)
}

// Disable undoes Enable.
func (c *Client) Disable(ctx context.Context, req EnableRequest) (EnableReply, error) {
	return post[EnableReply](ctx, c, "/v1/disable", req)
}

// Mask hides units from every start, with Now stops them first.
func (c *Client) Mask(ctx context.Context, req EnableRequest) (EnableReply, error) {
	return post[EnableReply](ctx, c, "/v1/mask", req)
}

// Unmask undoes Mask.
func (c *Client) Unmask(ctx context.Context, req EnableRequest) (EnableReply, error) {
	return post[EnableReply](ctx, c, "/v1/unmask", req)
}

// Act asks for a change of state and gives its progress, see Progress.
func (c *Client) Act(ctx context.Context, req ActRequest) iter.Seq2[Progress, error] {
	return lines[Progress](func() (*http.Response, error) { return c.post(ctx, "/v1/actions", req) })
}

// Logs gives records, oldest first.
func (c *Client) Logs(ctx context.Context, q LogQuery) iter.Seq2[LogRecord, error] {
	return lines[LogRecord](func() (*http.Response, error) { return c.get(ctx, "/v1/logs", q.values()) })
}

// Events gives what happens from now on.
func (c *Client) Events(ctx context.Context, q EventQuery) iter.Seq2[Event, error] {
	return lines[Event](func() (*http.Response, error) { return c.get(ctx, "/v1/events", url.Values{"unit": q.Units}) })
}

func unitPath(unit, rest string) string {
	return "/v1/units/" + url.PathEscape(unit) + rest
}

func (c *Client) get(ctx context.Context, path string, query url.Values) (*http.Response, error) {
	return c.send(ctx, http.MethodGet, path+"?"+query.Encode(), nil, nil)
}

func (c *Client) post(ctx context.Context, path string, body any) (*http.Response, error) {
	return c.send(ctx, http.MethodPost, path, body, nil)
}

// send makes a request and turns an error reply into *Error.
func (c *Client) send(ctx context.Context, method, path string, body any, header http.Header) (*http.Response, error) {
	var rd io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("cannot encode request: %w", err)
		}
		rd = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://nsinit"+path, rd)
	if err != nil {
		return nil, fmt.Errorf("cannot make request: %w", err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unwrapURL(err)
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, replyError(resp)
	}
	return resp, nil
}

// unwrapURL takes away the "Get http://nsinit/...", which says nothing to a
// user of a Unix socket.
func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func replyError(resp *http.Response) error {
	var body errorBody
	data, _ := io.ReadAll(io.LimitReader(resp.Body, bodyMax))
	if json.Unmarshal(data, &body) == nil && body.Error != nil {
		return body.Error
	}
	return &Error{Code: CodeInternal, Message: fmt.Sprintf("cannot understand the answer: %s: %s", resp.Status, clip(string(data), 200))}
}

func fetch[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	return decode[T](c.get(ctx, path, query))
}

func post[T any](ctx context.Context, c *Client, path string, body any) (T, error) {
	return decode[T](c.post(ctx, path, body))
}

// decode ignores fields that it does not know: the server may be newer.
func decode[T any](resp *http.Response, err error) (T, error) {
	var v T
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, replyMax)).Decode(&v); err != nil {
		return v, fmt.Errorf("cannot decode the answer: %w", err)
	}
	return v, nil
}

// lines gives the elements of a stream of JSON lines.
func lines[T any](open func() (*http.Response, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		resp, err := open()
		if err != nil {
			yield(zero, err)
			return
		}
		defer resp.Body.Close()
		sc := bufio.NewScanner(resp.Body)
		sc.Buffer(nil, replyMax)
		for sc.Scan() {
			v, err := decodeLine[T](sc.Bytes())
			if !yield(v, err) || err != nil {
				return
			}
		}
		if err := sc.Err(); err != nil {
			yield(zero, fmt.Errorf("cannot read on: %w", err))
		}
	}
}

// decodeLine tells an element from the line that ends a failed stream.
func decodeLine[T any](data []byte) (v T, err error) {
	var end streamEnd
	if bytes.HasPrefix(data, []byte(`{"stream_error"`)) && json.Unmarshal(data, &end) == nil && end.Error != nil {
		return v, end.Error
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("cannot decode the answer: %w", err)
	}
	return v, nil
}
