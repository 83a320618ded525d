/* load: a closed-loop load generator for chat completions. Prints one JSON object.
 *
 *   load -p PORT [-A KEY] [-m MODEL] [-K FILE] [-H HEADER] [-c CONNECTIONS] [-r REQUESTS] [-w RAMP_MS]
 *        [-T SECONDS] [-N]
 *
 * Opens CONNECTIONS (over RAMP_MS) and sends REQUESTS on each, the next one when the last is answered; after
 * SECONDS nothing new is sent. -N asks for JSON, else for streams, whose every chunk is checked for: a stream is
 * good if its status is 200, the count of chunks is the one that the model's name asks for (`-n100`, else 20) and
 * `[DONE]` came. MODEL may be an alias; the count is then read from the alias's name. With -K each request takes
 * the next line of FILE, "KEY MODEL", in place of -A and -m, from the first one on again after the last. HEADER is
 * a further line of each request's head.
 *
 * Times in milliseconds, as medians, 99th percentiles and the longest: `total` (request sent to answer's end), `ttft` (to the
 * first chunk) and `transit` (a chunk's way from the mock, which writes the time into it, to here).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_BYTES 8192
#define LINE_BYTES 16384
#define READ_BYTES (256 * 1024)
#define GRACE_NS 30000000000LL /* after the last request may start, before the rest counts as failed */

enum state { CONNECTING, READING_HEAD, READING_BODY, CLOSED };
enum framing { CHUNKED, COUNTED, UNTIL_CLOSE };
enum chunked_state { SIZE, DATA, AFTER_DATA, TRAILER };

struct connection {
    int fd;
    enum state state;
    enum framing framing;
    enum chunked_state chunked;
    long requests_left, body_left; /* body_left: of the body, or of the chunk */
    int64_t sent_ns;
    int status, is_done;
    long chunks;
    size_t head_len, line_len;
    char head[HEAD_BYTES + 1], line[LINE_BYTES];
};

struct samples {
    int64_t *ns;
    size_t n, size;
};

static int port = 9100, wants_json;
static long connections = 1, requests = 1, ramp_ms, expected_chunks = 20;
static double seconds = 60;
static const char *key = "none", *header = "", *model = "mock-n20", *pairs_file;

struct text {
    char *bytes;
    size_t len;
};
static struct text *texts; /* the requests that are sent in turn */
static size_t text_count, next_text;

static struct samples total, ttft, transit;
static long good, bad, chunks_seen, alive;
static int64_t stop_ns;
static int epoll_fd;
static char reasons[8][160];
static size_t reason_count;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* ---- what is counted ---- */

static void add(struct samples *s, int64_t ns) {
    if (s->n == s->size) {
        s->size = s->size ? s->size * 2 : 65536;
        s->ns = realloc(s->ns, s->size * sizeof *s->ns);
    }
    s->ns[s->n++] = ns < 0 ? 0 : ns;
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_quantiles(const char *name, struct samples *s) {
    if (!s->n) {
        printf("\"%s_p50_ms\":null,\"%s_p99_ms\":null,\"%s_max_ms\":null,", name, name, name);
        return;
    }
    qsort(s->ns, s->n, sizeof *s->ns, by_size);
    double p50 = s->ns[s->n / 2] / 1e6, p99 = s->ns[(size_t)(s->n * 0.99)] / 1e6, max = s->ns[s->n - 1] / 1e6;
    printf("\"%s_p50_ms\":%.3f,\"%s_p99_ms\":%.3f,\"%s_max_ms\":%.3f,", name, p50, name, p99, name, max);
}

static void note(const char *why, const struct connection *c) {
    if (reason_count == 8) return;
    snprintf(reasons[reason_count++], sizeof *reasons, "%s: status %d, %ld chunks, done %d", why, c->status,
             c->chunks, c->is_done);
}

/* ---- one request after the other ---- */

static void open_connection(struct connection *c) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connect(c->fd, (void *)&a, sizeof a);
    c->state = CONNECTING;
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
}

static void end_request(struct connection *c, int is_good, int may_reuse);

static void send_request(struct connection *c) {
    c->state = READING_HEAD;
    c->head_len = c->line_len = 0;
    c->chunks = c->status = c->is_done = 0;
    c->sent_ns = now_ns();
    struct text *request = &texts[next_text];
    next_text = (next_text + 1) % text_count;
    if (send(c->fd, request->bytes, request->len, MSG_NOSIGNAL) != (ssize_t)request->len) {
        note("the request was not taken", c);
        end_request(c, 0, 0);
    }
}

static void end_request(struct connection *c, int is_good, int may_reuse) {
    int64_t now = now_ns();
    if (is_good) {
        good++;
        add(&total, now - c->sent_ns);
    } else {
        bad++;
    }
    if (--c->requests_left <= 0 || now > stop_ns) {
        close(c->fd);
        c->state = CLOSED;
        alive--;
    } else if (is_good && may_reuse) {
        send_request(c);
    } else {
        close(c->fd);
        open_connection(c);
    }
}

static void end_answer(struct connection *c, int may_reuse) {
    int is_good = c->status == 200 && (wants_json || (c->is_done && c->chunks == expected_chunks));
    if (!is_good) note("a bad answer", c);
    end_request(c, is_good, may_reuse);
}

/* ---- reading answers ---- */

static void read_line(struct connection *c, const char *line, size_t n, int64_t now) {
    if (n < 6 || memcmp(line, "data:", 5)) return;
    const char *stamp = memchr(line, '@', n);
    if (stamp) {
        add(&transit, now - strtoll(stamp + 1, NULL, 10));
        chunks_seen++;
        if (!c->chunks++) add(&ttft, now - c->sent_ns);
    } else if (memmem(line, n, "[DONE]", 6)) {
        c->is_done = 1;
    }
}

static void read_body(struct connection *c, const char *data, size_t n, int64_t now) {
    while (!wants_json && n) {
        const char *end = memchr(data, '\n', n);
        size_t len = end ? (size_t)(end - data) : n;
        if (end && !c->line_len) {
            read_line(c, data, len, now);
        } else { /* a line in pieces */
            if (c->line_len + len < LINE_BYTES) {
                memcpy(c->line + c->line_len, data, len);
                c->line_len += len;
                c->line[c->line_len] = 0;
            }
            if (end) {
                read_line(c, c->line, c->line_len, now);
                c->line_len = 0;
            }
        }
        if (!end) return;
        data = end + 1;
        n -= len + 1;
    }
}

/* Take bytes of the head; return how many belonged to it. */
static size_t read_head(struct connection *c, const char *data, size_t n) {
    size_t before = c->head_len, take = n < HEAD_BYTES - before ? n : HEAD_BYTES - before;
    memcpy(c->head + before, data, take);
    c->head_len += take;
    c->head[c->head_len] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) return take;
    end[2] = 0;
    c->status = atoi(c->head + 9);
    c->state = READING_BODY;
    const char *length = strcasestr(c->head, "\ncontent-length:");
    c->framing = strcasestr(c->head, "\ntransfer-encoding: chunked") ? CHUNKED : length ? COUNTED : UNTIL_CLOSE;
    c->chunked = SIZE;
    c->body_left = c->framing == COUNTED ? atol(length + 16) : 0;
    return end + 4 - c->head - before;
}

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    char lower = c | 32;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Take a byte of chunked framing; return 1 at the end of the body. */
static int read_framing(struct connection *c, char byte) {
    if (c->chunked == SIZE && hex(byte) >= 0) c->body_left = c->body_left * 16 + hex(byte);
    if (byte != '\n') return 0;
    if (c->chunked == TRAILER) return 1;
    if (c->chunked == SIZE)
        c->chunked = c->body_left ? DATA : TRAILER;
    else
        c->chunked = SIZE;
    return 0;
}

static void feed(struct connection *c, const char *data, size_t n, int64_t now) {
    while (n) {
        if (c->state == READING_HEAD) {
            size_t used = read_head(c, data, n);
            data += used;
            n -= used;
            if (c->state == READING_BODY && c->framing == COUNTED && !c->body_left) return end_answer(c, 1);
        } else if (c->framing == UNTIL_CLOSE) {
            return read_body(c, data, n, now);
        } else if (c->framing == CHUNKED && c->chunked != DATA) {
            n--;
            if (read_framing(c, *data++)) return end_answer(c, 1);
        } else {
            size_t take = n < (size_t)c->body_left ? n : (size_t)c->body_left;
            read_body(c, data, take, now);
            data += take;
            n -= take;
            c->body_left -= take;
            if (c->body_left) continue;
            if (c->framing == COUNTED) return end_answer(c, 1);
            c->chunked = AFTER_DATA;
        }
    }
}

/* ---- the loop ---- */

static void on_connected(struct connection *c) {
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error) {
        note(strerror(error), c);
        return end_request(c, 0, 0);
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
    send_request(c);
}

static void on_readable(struct connection *c) {
    static char data[READ_BYTES];
    ssize_t n = recv(c->fd, data, sizeof data, 0);
    if (n > 0) return feed(c, data, n, now_ns());
    if (n < 0 && errno == EAGAIN) return;
    if (c->state == READING_BODY && c->framing == UNTIL_CLOSE) return end_answer(c, 0);
    note("closed early", c);
    end_request(c, 0, 0);
}

static void write_request(const char *for_key, const char *for_model) {
    char body[4096], request[8192];
    int n = snprintf(body, sizeof body,
                     "{\"model\":\"%s\",\"messages\":[{\"role\":\"system\",\"content\":\"You are a helpful "
                     "assistant.\"},{\"role\":\"user\",\"content\":\"Tell me about the quick brown fox and the lazy "
                     "dog, in a few words.\"}],\"temperature\":0.7,\"max_tokens\":256%s}",
                     for_model, wants_json ? "" : ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    int len = snprintf(request, sizeof request,
                       "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                       "Content-Type: application/json\r\nAccept: */*\r\nAuthorization: Bearer %s\r\n%s%s"
                       "Content-Length: %d\r\n\r\n%s",
                       port, for_key, header, *header ? "\r\n" : "", n, body);
    texts = realloc(texts, (text_count + 1) * sizeof *texts);
    texts[text_count++] = (struct text){strdup(request), len};
}

static void write_requests(void) {
    if (!pairs_file) return write_request(key, model);
    char of_key[512], of_model[512];
    FILE *file = fopen(pairs_file, "r");
    while (file && fscanf(file, "%511s %511s", of_key, of_model) == 2) write_request(of_key, of_model);
    if (!text_count) {
        fprintf(stderr, "load: no line \"KEY MODEL\" in %s\n", pairs_file);
        exit(2);
    }
    fclose(file);
}

static void read_arguments(int argc, char **argv) {
    int o;
    while ((o = getopt(argc, argv, "p:A:m:K:H:c:r:w:T:N")) > 0) {
        if (o == 'p') port = atoi(optarg);
        if (o == 'A') key = optarg;
        if (o == 'm') model = optarg;
        if (o == 'H') header = optarg;
        if (o == 'K') pairs_file = optarg;
        if (o == 'c') connections = atol(optarg);
        if (o == 'r') requests = atol(optarg);
        if (o == 'w') ramp_ms = atol(optarg);
        if (o == 'T') seconds = atof(optarg);
        if (o == 'N') wants_json = 1;
        if (o == '?') exit(2);
    }
    for (const char *p = model; (p = strchr(p, '-'));) {
        p++;
        if (p[0] == 'n' && p[1] >= '0' && p[1] <= '9') expected_chunks = atol(p + 1);
    }
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    read_arguments(argc, argv);
    write_requests();
    epoll_fd = epoll_create1(0);
    struct connection *all = calloc(connections, sizeof *all);
    struct epoll_event events[512];
    int64_t start = now_ns();
    stop_ns = start + (int64_t)(seconds * 1e9);
    alive = connections;
    for (long opened = 0; alive;) {
        int64_t now = now_ns();
        if (now > stop_ns + GRACE_NS) {
            bad += alive;
            snprintf(reasons[0], sizeof *reasons, "%ld requests were never answered", alive);
            if (!reason_count) reason_count = 1;
            break;
        }
        while (opened < connections && now - start >= ramp_ms * 1000000LL * opened / connections) {
            all[opened].requests_left = requests;
            open_connection(&all[opened++]);
        }
        int n = epoll_wait(epoll_fd, events, 512, opened < connections ? 1 : 1000);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->state == CONNECTING)
                on_connected(c);
            else if (c->state != CLOSED)
                on_readable(c);
        }
    }
    printf("{\"seconds\":%.4f,\"ok\":%ld,\"errors\":%ld,", (now_ns() - start) / 1e9, good, bad);
    printf("\"chunks\":%ld,", chunks_seen);
    print_quantiles("total", &total);
    print_quantiles("ttft", &ttft);
    print_quantiles("transit", &transit);
    printf("\"reasons\":[");
    for (size_t i = 0; i < reason_count; i++) printf("%s\"%s\"", i ? "," : "", reasons[i]);
    printf("]}\n");
    return 0;
}
