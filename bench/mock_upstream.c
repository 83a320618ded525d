/* mock_upstream: an OpenAI-like upstream that costs next to nothing, so that what is measured is the proxy.
 *
 *   mock_upstream [PORT]        PORT 0 (the default) lets the kernel choose; prints {"port": N} and serves.
 *
 * The model's name carries the script, options separated by dashes: `mock-n100-d20ms` is 100 chunks, 20 ms apart.
 *   -nN     content chunks of a stream (default 20)
 *   -dN     milliseconds between chunks (default 0: as fast as they leave, one write each, streams in turn)
 *   -tN     milliseconds until the first chunk
 *   -lN     milliseconds until a JSON answer
 *   -sN     bytes of padding in each chunk
 * Each content chunk says "@<CLOCK_MONOTONIC in ns>", so that a client on the same machine can tell how long the
 * chunk was on its way.
 *
 * One thread, one epoll. A connection stands in at most one list: the ready list (it writes its next chunk in this
 * turn) or a slot of the timer wheel (one slot a millisecond). Requests need a content-length.
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
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WHEEL_SLOTS 65536 /* longest wait: 65 s */
#define MODEL_BYTES 96
#define MAX_PADDING 8000

struct link { struct link *prev, *next; };

enum state { IDLE, BEFORE_ANSWER, STREAMING };

struct connection {
    struct link link; /* first, so that a link is its connection */
    struct connection *next_dead;
    int fd, is_dead, closes_after, waits_for_room;
    enum state state;
    char *in;
    size_t in_len, in_size;
    char *out; /* what the socket did not take: [out_sent, out_len) */
    size_t out_len, out_sent, out_size;
    char model[MODEL_BYTES];
    long chunks, chunks_left, delay_ms, padding;
    int64_t due_ms;
};

static struct link wheel[WHEEL_SLOTS], ready = {&ready, &ready};
static int64_t wheel_ms; /* every slot up to this millisecond has been served */
static long timers;
static int epoll_fd;
static struct connection *dead; /* freed at the end of the turn: an event may still point at them */
static char padding[MAX_PADDING];

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* ---- lists ---- */

static void unlink_connection(struct connection *c) {
    if (c->due_ms) timers--;
    c->due_ms = 0;
    c->link.prev->next = c->link.next;
    c->link.next->prev = c->link.prev;
    c->link.prev = c->link.next = &c->link;
}

static void push(struct link *list, struct connection *c) {
    unlink_connection(c);
    c->link.prev = list->prev;
    c->link.next = list;
    list->prev->next = &c->link;
    list->prev = &c->link;
}

static void wake_at(struct connection *c, int64_t ms) {
    if (ms <= wheel_ms) ms = wheel_ms + 1;
    if (ms >= wheel_ms + WHEEL_SLOTS) ms = wheel_ms + WHEEL_SLOTS - 1;
    push(&wheel[ms % WHEEL_SLOTS], c);
    c->due_ms = ms;
    timers++;
}

/* ---- writing ---- */

static void kill_connection(struct connection *c) {
    if (c->is_dead) return;
    c->is_dead = 1;
    unlink_connection(c);
    close(c->fd);
    c->next_dead = dead;
    dead = c;
}

static void watch(struct connection *c, int for_room) {
    if (c->waits_for_room == for_room) return;
    c->waits_for_room = for_room;
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | (for_room ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

static void keep_for_later(struct connection *c, const char *data, size_t n) {
    if (c->out_len + n > c->out_size) {
        c->out_size = (c->out_len + n) * 2;
        c->out = realloc(c->out, c->out_size);
    }
    memcpy(c->out + c->out_len, data, n);
    c->out_len += n;
    watch(c, 1);
}

static void emit(struct connection *c, const char *data, size_t n) {
    if (!c->out_len) {
        ssize_t sent = send(c->fd, data, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return kill_connection(c);
        if (sent < 0) sent = 0;
        data += sent;
        n -= sent;
    }
    if (n) keep_for_later(c, data, n);
}

/* ---- answers ---- */

static size_t chunked(char *to, const char *data, size_t n) {
    int head = sprintf(to, "%zx\r\n", n);
    memcpy(to + head, data, n);
    memcpy(to + head + n, "\r\n", 2);
    return head + n + 2;
}

#define CHUNK_HEAD                                                                                          \
    "data: {\"id\":\"chatcmpl-mock0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1700000000," \
    "\"model\":\"%s\",\"choices\":["

static void parse(struct connection *c);

static void end_answer(struct connection *c) {
    c->state = IDLE;
    unlink_connection(c);
    if (c->is_dead) return;
    if (c->closes_after && !c->out_len) shutdown(c->fd, SHUT_WR);
    parse(c); /* a pipelined request may be here already */
}

static void end_stream(struct connection *c) {
    char event[1024], frames[4096];
    size_t n = 0;
    int len = sprintf(event, CHUNK_HEAD "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", c->model);
    n += chunked(frames + n, event, len);
    len = sprintf(event,
                  CHUNK_HEAD "],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":%ld,\"total_tokens\":%ld}}\n\n",
                  c->model, c->chunks, c->chunks + 12);
    n += chunked(frames + n, event, len);
    n += chunked(frames + n, "data: [DONE]\n\n", 14);
    n += sprintf(frames + n, "0\r\n\r\n");
    emit(c, frames, n);
    end_answer(c);
}

/* Write a stream's next chunk, and stand where the one after it will be written from. */
static void step(struct connection *c) {
    if (c->out_len) { /* the reader is slow: go on when the socket has room */
        unlink_connection(c);
        return;
    }
    if (!c->chunks_left) return end_stream(c);
    int64_t was_due_ms = c->due_ms;
    char event[MAX_PADDING + 1024], frame[MAX_PADDING + 1100];
    int len = sprintf(event,
                      CHUNK_HEAD "{\"index\":0,\"delta\":{\"content\":\"@%lld %.*s\"},\"finish_reason\":null}]}\n\n",
                      c->model, (long long)now_ns(), (int)c->padding, padding);
    c->chunks_left--;
    emit(c, frame, chunked(frame, event, len));
    if (c->is_dead) return;
    if (c->delay_ms && c->chunks_left) /* from the due time, so that delays do not add up */
        wake_at(c, (was_due_ms ? was_due_ms : wheel_ms) + c->delay_ms);
    else
        push(&ready, c);
}

static void answer_json(struct connection *c) {
    char body[2048], answer[4096];
    int len = sprintf(
        body,
        "{\"id\":\"chatcmpl-mock0123456789\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"%s\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"The quick brown fox jumps over the "
        "lazy dog. Pack my box with five dozen liquor jugs. How vexingly quick daft zebras jump! Sphinx of black "
        "quartz, judge my vow.\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":42,\"total_tokens\":54,"
        "\"prompt_tokens_details\":{\"cached_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0}},"
        "\"system_fingerprint\":\"fp_mock\"}",
        c->model);
    int n = sprintf(answer,
                    "HTTP/1.1 200 OK\r\nServer: mock\r\nContent-Type: application/json\r\n"
                    "X-Request-Id: req_0123456789abcdef\r\nContent-Length: %d\r\n\r\n%s",
                    len, body);
    emit(c, answer, n);
    end_answer(c);
}

static void start_stream(struct connection *c) {
    static const char head[] =
        "HTTP/1.1 200 OK\r\nServer: mock\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
        "Cache-Control: no-cache\r\nX-Request-Id: req_0123456789abcdef\r\nTransfer-Encoding: chunked\r\n\r\n";
    c->state = STREAMING;
    emit(c, head, sizeof head - 1);
}

static void answer_models(struct connection *c) {
    static const char body[] =
        "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\",\"created\":1700000000,"
        "\"owned_by\":\"mock\"}]}";
    char answer[512];
    int n = sprintf(answer, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                    sizeof body - 1, body);
    emit(c, answer, n);
}

/* ---- requests ---- */

static long option(const char *model, char name, long otherwise) {
    for (const char *p = model; (p = strchr(p, '-'));) {
        p++;
        if (p[0] == name && p[1] >= '0' && p[1] <= '9') return atol(p + 1);
    }
    return otherwise;
}

/* The value of a top-level field, found as text: enough for the bodies of a benchmark. */
static const char *value_of(const char *body, const char *quoted_name) {
    const char *p = strstr(body, quoted_name);
    if (!p) return NULL;
    p += strlen(quoted_name);
    return p + strspn(p, " :");
}

static void play(struct connection *c, const char *body) {
    const char *model = value_of(body, "\"model\""), *stream = value_of(body, "\"stream\"");
    size_t len = model && *model == '"' ? strcspn(model + 1, "\"") : 0;
    if (len > MODEL_BYTES - 1) len = MODEL_BYTES - 1;
    memcpy(c->model, len ? model + 1 : "", len);
    c->model[len] = 0;
    if (!stream || *stream != 't') {
        long wait_ms = option(c->model, 'l', 0);
        if (!wait_ms) return answer_json(c);
        c->state = BEFORE_ANSWER;
        return wake_at(c, wheel_ms + wait_ms);
    }
    c->chunks = c->chunks_left = option(c->model, 'n', 20);
    c->delay_ms = option(c->model, 'd', 0);
    c->padding = option(c->model, 's', 0);
    if (c->padding > MAX_PADDING) c->padding = MAX_PADDING;
    start_stream(c);
    if (c->is_dead) return;
    long first_ms = option(c->model, 't', 0);
    if (first_ms)
        wake_at(c, wheel_ms + first_ms);
    else
        push(&ready, c);
}

/* Answer every whole request in the buffer, one after the other. */
static void parse(struct connection *c) {
    while (!c->is_dead && c->state == IDLE && c->in_len) {
        c->in[c->in_len] = 0;
        char *end = strstr(c->in, "\r\n\r\n");
        if (!end) return;
        *end = 0;
        const char *length = strcasestr(c->in, "\ncontent-length:");
        size_t body_len = length ? strtoul(length + 16, NULL, 10) : 0;
        c->closes_after = strcasestr(c->in, "\nconnection: close") != NULL;
        int is_post = c->in[0] == 'P';
        *end = '\r';
        char *body = end + 4;
        size_t used = body - c->in + body_len;
        if (c->in_len < used) return;
        char after = body[body_len];
        body[body_len] = 0;
        /* Take the request out of the buffer before it is answered: answering may come back here. */
        char *request = strndup(body, body_len);
        body[body_len] = after;
        memmove(c->in, c->in + used, c->in_len - used);
        c->in_len -= used;
        if (is_post)
            play(c, request);
        else
            answer_models(c);
        free(request);
    }
}

/* ---- the loop ---- */

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    if (bind(fd, (void *)&a, sizeof a) || listen(fd, 4096) || getsockname(fd, (void *)&a, &len)) {
        perror("mock_upstream");
        exit(1);
    }
    printf("{\"port\": %d}\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

static void accept_all(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->link.prev = c->link.next = &c->link;
        c->in_size = 8192;
        c->in = malloc(c->in_size + 1);
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
    }
}

static void read_requests(struct connection *c) {
    ssize_t got;
    do {
        if (c->in_len == c->in_size) c->in = realloc(c->in, (c->in_size *= 2) + 1);
        got = recv(c->fd, c->in + c->in_len, c->in_size - c->in_len, 0);
        if (got > 0) c->in_len += got;
    } while (got > 0 && c->in_len == c->in_size);
    if (got == 0 || (got < 0 && errno != EAGAIN)) return kill_connection(c);
    parse(c);
}

static void flush(struct connection *c) {
    ssize_t sent = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return kill_connection(c);
    if (sent > 0) c->out_sent += sent;
    if (c->out_sent < c->out_len) return;
    c->out_sent = c->out_len = 0;
    watch(c, 0);
    if (c->state == STREAMING && !c->due_ms) push(&ready, c);
    if (c->state == IDLE && c->closes_after) shutdown(c->fd, SHUT_WR);
}

static void serve_timers(void) {
    int64_t now_ms = now_ns() / 1000000;
    if (!timers) wheel_ms = now_ms;
    while (wheel_ms < now_ms) {
        struct link *slot = &wheel[++wheel_ms % WHEEL_SLOTS];
        while (slot->next != slot) {
            struct connection *c = (struct connection *)slot->next;
            if (c->state == STREAMING)
                step(c);
            else
                answer_json(c);
        }
    }
}

static void serve_ready(void) {
    struct link turn = {&turn, &turn}; /* those ready now: each writes once, and may be ready again after it */
    if (ready.next == &ready) return;
    turn = ready;
    turn.next->prev = turn.prev->next = &turn;
    ready.next = ready.prev = &ready;
    while (turn.next != &turn) step((struct connection *)turn.next);
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* never outlive the harness */
    memset(padding, 'x', sizeof padding);
    for (int i = 0; i < WHEEL_SLOTS; i++) wheel[i].prev = wheel[i].next = &wheel[i];
    wheel_ms = now_ns() / 1000000;
    int listener = listen_on(argc > 1 ? atoi(argv[1]) : 0);
    epoll_fd = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[512];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 512, ready.next != &ready ? 0 : timers ? 1 : -1);
        serve_timers();
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) {
                accept_all(listener);
                continue;
            }
            if (!c->is_dead && events[i].events & (EPOLLHUP | EPOLLERR)) kill_connection(c);
            if (!c->is_dead && events[i].events & EPOLLOUT) flush(c);
            if (!c->is_dead && events[i].events & (EPOLLIN | EPOLLRDHUP)) read_requests(c);
        }
        serve_ready();
        while (dead) {
            struct connection *c = dead;
            dead = c->next_dead;
            free(c->in);
            free(c->out);
            free(c);
        }
    }
}
