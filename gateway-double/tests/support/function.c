/* A function for tests: HTTP on TRANCHE_LISTEN (or 0.0.0.0:8080), one thread a connection.
   NO_SIGTERM: no handler. NO_CONTINUE: Expect is not answered. MAX_IN_FLIGHT: 429 beyond. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static atomic_int in_flight, draining;
static int listener = -1;

static void pause_ms(long ms) {
    struct timespec time = {ms / 1000, (ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static void on_term(int number) {
    (void)number;
    draining = 1;
    shutdown(listener, SHUT_RDWR);
}

/* Buffered reading. */
struct reader { int socket; size_t at, end; char bytes[65536]; };

static int next(struct reader *r) {
    if (r->at == r->end) {
        ssize_t length = read(r->socket, r->bytes, sizeof r->bytes);
        if (length <= 0) return -1;
        r->at = 0;
        r->end = (size_t)length;
    }
    return (unsigned char)r->bytes[r->at++];
}

static int line(struct reader *r, char *text, size_t size) {
    size_t length = 0;
    for (;;) {
        int c = next(r);
        if (c < 0) return -1;
        if (c == '\n') break;
        if (c != '\r' && length + 1 < size) text[length++] = (char)c;
    }
    text[length] = 0;
    return (int)length;
}

static void answer(int socket, int status, const char *body, size_t length) {
    char head[256];
    int n = snprintf(head, sizeof head, "HTTP/1.1 %d X\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n",
                     status, length);
    if (write(socket, head, (size_t)n) < 0) return;
    while (length > 0) {
        ssize_t sent = write(socket, body, length);
        if (sent <= 0) return;
        body += sent;
        length -= (size_t)sent;
    }
}

static void say(int socket, int status, const char *text) { answer(socket, status, text, strlen(text)); }

/* One request; whether the connection goes on. */
static int serve(struct reader *r, char *head, size_t head_size) {
    char text[16384], method[16], path[4096];
    long length = 0;
    int chunked = 0, expects = 0, closes = 0;
    size_t used = 0;
    if (line(r, text, sizeof text) <= 0 || sscanf(text, "%15s %4095s", method, path) != 2) return 0;
    used += (size_t)snprintf(head, head_size, "%s\n", text);
    while (line(r, text, sizeof text) > 0) {
        if (used + strlen(text) + 2 < head_size) used += (size_t)sprintf(head + used, "%s\n", text);
        if (!strncasecmp(text, "content-length:", 15)) length = atol(text + 15);
        if (!strncasecmp(text, "transfer-encoding:", 18)) chunked = 1;
        if (!strncasecmp(text, "expect:", 7)) expects = 1;
        if (!strcasecmp(text, "connection: close")) closes = 1;
    }
    int health = !strncmp(path, "/_/", 3);
    const char *most = getenv("MAX_IN_FLIGHT");
    int counted = !health;
    int busy = counted && most && in_flight >= atoi(most);
    if (busy) counted = 0;
    if (counted) in_flight++;
    if (expects && !getenv("NO_CONTINUE")) {
        const char *go = "HTTP/1.1 100 Continue\r\n\r\n";
        if (write(r->socket, go, strlen(go)) < 0) return 0;
    }
    size_t size = 0, room = 1 << 16;
    char *body = malloc(room);
    for (int more = 1; more && body;) {
        long piece = length;
        if (chunked) {
            if (line(r, text, sizeof text) < 0) break;
            piece = strtol(text, NULL, 16);
        }
        more = chunked && piece > 0;
        for (long i = 0; i < piece; i++) {
            int c = next(r);
            if (c < 0) { more = 0; break; }
            if (size == room) body = realloc(body, room *= 2);
            body[size++] = (char)c;
        }
        if (chunked) line(r, text, sizeof text);
    }
    char *query = strchr(path, '?');
    if (query) *query++ = 0;
    /* Only now, so that the sender sees the answer and not a reset connection. */
    if (busy) {
        say(r->socket, 429, "busy");
    } else if (!strcmp(path, "/_/health") && getenv("UNHEALTHY")) {
        say(r->socket, 500, "unhealthy");
    } else if (!strcmp(path, "/echo")) {
        answer(r->socket, 200, body, size);
    } else if (!strcmp(path, "/head")) {
        say(r->socket, 200, head);
    } else if (!strcmp(path, "/slow")) {
        pause_ms(query ? atol(query) : 1000);
        say(r->socket, 200, "slow");
    } else if (!strcmp(path, "/oom")) {
        for (;;) { char *page = malloc(1 << 20); if (page) memset(page, 1, 1 << 20); }
    } else if (!strcmp(path, "/env")) {
        char all[16384] = "";
        for (char **one = environ; *one && strlen(all) + strlen(*one) < sizeof all - 2; one++) sprintf(all + strlen(all), "%s\n", *one);
        sprintf(all + strlen(all), "uid=%d gid=%d pid=%d\n", getuid(), getgid(), getpid());
        say(r->socket, 200, all);
    } else if (!strcmp(path, "/read")) {
        char file[8192];
        FILE *stream = fopen(query ? query : "", "r");
        size_t got = stream ? fread(file, 1, sizeof file, stream) : 0;
        if (stream) { fclose(stream); answer(r->socket, 200, file, got); } else say(r->socket, 404, "no file");
    } else if (!strcmp(path, "/write")) {
        FILE *stream = fopen(query ? query : "", "w");
        if (stream) { fputs("written", stream); fclose(stream); say(r->socket, 200, "written"); } else say(r->socket, 403, "cannot write");
    } else if (!strcmp(path, "/log")) {
        puts(query ? query : "log");
        fflush(stdout);
        say(r->socket, 200, "logged");
    } else {
        say(r->socket, 200, "ok");
    }
    free(body);
    if (counted) in_flight--;
    return !draining && !closes;
}

static void *converse(void *argument) {
    struct reader *r = malloc(sizeof *r);
    char *head = malloc(65536);
    r->socket = (int)(long)argument;
    r->at = r->end = 0;
    while (serve(r, head, 65536)) {}
    close(r->socket);
    free(head);
    free(r);
    return NULL;
}

int main(void) {
    const char *listen_on = getenv("TRANCHE_LISTEN");
    char host[64] = "0.0.0.0";
    int port = 8080, one = 1;
    if (listen_on) sscanf(listen_on, "%63[^:]:%d", host, &port);
    signal(SIGPIPE, SIG_IGN);
    if (!getenv("NO_SIGTERM")) {
        struct sigaction action = {.sa_handler = on_term};
        sigaction(SIGTERM, &action, NULL);
    }
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128)) return 50;
    fprintf(stderr, "listening on %s:%d\n", host, port);
    while (!draining) {
        int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;
        if (socket < 0) continue;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (!pthread_create(&thread, NULL, converse, (void *)(long)socket)) pthread_detach(thread);
    }
    while (in_flight) pause_ms(5);
    pause_ms(20);
    return 0;
}
