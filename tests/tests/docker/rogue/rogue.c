/* A guest whose agent is hostile: it boots as hull-agent does, and then breaks the protocol in the way that
 * the container's host name says. Compiled and run by rogue.rs.
 *
 * Frames: number (4), type (1), length (3), body; little-endian. See crates/wire/src/frame.rs.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CALL, ANSWER, DATA, END, CREDIT, STOP };

#define DONE "{\"Ok\":\"done\"}"
#define FLOOD 2000

static int port;
static char body[1 << 24];

static void put(const void *from, size_t length) {
    const char *at = from;
    while (length > 0) {
        ssize_t written = write(port, at, length);
        if (written > 0) at += written, length -= written;
        else usleep(2000);
    }
}

static void take(void *to, size_t length) {
    char *at = to;
    while (length > 0) {
        ssize_t got = read(port, at, length);
        /* While nobody holds the other end of the port, it reads as empty. */
        if (got > 0) at += got, length -= got;
        else usleep(2000);
    }
}

static void head(uint32_t number, uint8_t type, uint32_t length) {
    uint8_t bytes[8] = { number, number >> 8, number >> 16, number >> 24, type,
                         length, length >> 8, length >> 16 };
    put(bytes, sizeof bytes);
}

static void frame(uint32_t number, uint8_t type, const void *what, uint32_t length) {
    head(number, type, length);
    put(what, length);
}

static void answer(uint32_t number, const char *json) { frame(number, ANSWER, json, strlen(json)); }

/* The number behind a key of the call. */
static uint32_t field(const char *key) {
    char *at = strstr(body, key);
    return at ? strtoul(at + strlen(key), NULL, 10) : 0;
}

static void boot(void) {
    mkdir("/proc", 0755), mkdir("/sys", 0755), mkdir("/dev", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    FILE *list = fopen("/modules", "r");
    char line[512];
    while (list && fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        int module = open(line, O_RDONLY);
        if (module >= 0) syscall(SYS_finit_module, module, "", 0), close(module);
    }
    for (port = -1; port < 0; usleep(2000)) {
        DIR *ports = opendir("/sys/class/virtio-ports");
        struct dirent *entry;
        while (ports && (entry = readdir(ports))) {
            char path[512], name[64] = "";
            snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
            FILE *file = fopen(path, "r");
            if (file && fgets(name, sizeof name, file) && strlen(name) > 1) {
                snprintf(path, sizeof path, "/dev/%s", entry->d_name);
                port = open(path, O_RDWR);
            }
            if (file) fclose(file);
        }
        if (ports) closedir(ports);
    }
}

static char mode[64];
static uint32_t waiting, visits, started, requests, answers, outputs[2];

static int is(const char *name) { return strcmp(mode, name) == 0; }

/* See linux/fuse.h `fuse_in_header`. */
struct request { uint32_t length, opcode; uint64_t unique, node; uint32_t uid, gid, pid, padding; };

/* The first call: it tells the name. */
static void configured(uint32_t number) {
    char *name = strstr(body, "\"hostname\":\"");
    if (name) sscanf(name + 12, "%63[^\"]", mode);
    char junk[4096];
    memset(junk, 'x', sizeof junk);
    if (is("type")) head(1, 9, 0);
    else if (is("unasked")) answer(4711, DONE);
    else if (is("stranger")) frame(4711, DATA, "x", 1);
    else if (is("deep")) {
        char *at = stpcpy(body, "{\"Err\":");
        while (at < body + (4 << 20) - 50) at = stpcpy(at, "{\"kind\":\"internal\",\"message\":\"\",\"cause\":");
        frame(number, ANSWER, body, at - body);
    }
    else if (is("oversized")) head(number, ANSWER, 0xffffff);
    else if (is("call")) frame(1, CALL, "{}", 2);
    else if (is("nonsense")) answer(number, "{\"Ok\":");
    else if (is("another")) answer(number, "{\"Ok\":{\"exit\":{\"code\":0}}}");
    else if (is("end")) frame(1, END, "x", 1);
    else if (is("die")) exit(3);
    else if (is("noise")) for (;;) put(junk, sizeof junk);
    else answer(number, DONE);
}

/* The container is made, or so it seems. */
static void created(uint32_t number) {
    static char data[32768];
    uint32_t out = outputs[0] = field("\"stdout\":");
    outputs[1] = field("\"stderr\":"), requests = field("\"requests\":"), answers = field("\"answers\":");
    if (is("overrun")) for (int i = 0; i < 100; i++) frame(out, DATA, data, sizeof data);
    answer(number, DONE);
    usleep(300000);
    if (is("credit")) frame(answers, CREDIT, "\1\0\0\0", 4);
    if (is("short") || is("long")) {
        memset(data, 3, 40);
        if (is("short")) memcpy(data, &(uint32_t){ 39 }, 4);
        frame(requests, DATA, data, 40);
    }
    /* One request after the other, and no answer is taken. */
    while (is("deaf")) {
        *(struct request *)data = (struct request){ .length = 40, .opcode = 17, .unique = 1, .node = 1 };
        frame(requests, DATA, data, 40);
    }
}

/* Another process in it, or so it seems; nobody reads its streams before the answer. */
static void executed(uint32_t number) {
    static char data[32768];
    uint32_t out = field("\"stdout\":");
    if (is("exec-late")) frame(out, DATA, "x", 1), frame(out, END, "", 0), frame(out, DATA, "y", 1);
    if (is("exec-flood")) for (int i = 0; i < 9; i++) frame(out, DATA, data, sizeof data);
    if (is("exec-stranger")) frame(out + 100, END, "", 0);
    answer(number, DONE);
}

static void ended(const char *json) {
    for (int i = 0; i < 2; i++) frame(outputs[i], END, "", 0);
    answer(waiting, json);
}

/* Somebody may come. */
static void received(uint32_t number) {
    static char data[32768], said[128];
    uint32_t from = field("\"from\":");
    if (!is("flood")) return;
    if (visits++ >= FLOOD) {
        if (waiting) ended("{\"Ok\":{\"exit\":{\"code\":7}}}"), answer(waiting, DONE);
        return;
    }
    /* Queries without an end, some of them longer than any; a connection that ends at once; nobody. */
    switch (visits % 3) {
    case 0:
        answer(number, "{\"Ok\":{\"came\":{\"visitor\":\"query\"}}}");
        for (int i = 0; i < 3 && visits % 60 == 0; i++) frame(from, DATA, data, sizeof data);
        break;
    case 1:
        answer(number, "{\"Ok\":{\"came\":{\"visitor\":\"resolver\"}}}");
        frame(from, END, "", 0);
        break;
    default:
        /* Of the files there are, and of others. */
        snprintf(said, sizeof said, "{\"Ok\":{\"came\":{\"visitor\":{\"socket\":{\"share\":%u,\"node\":99999}}}}}",
                 visits % 2 ? requests : 99999);
        answer(number, said);
    }
}

static void called(uint32_t number) {
    if (strncmp(body, "{\"configure\"", 12) == 0) configured(number);
    else if (strncmp(body, "{\"create\"", 9) == 0) created(number);
    else if (strncmp(body, "{\"exec\"", 7) == 0) executed(number);
    else if (strncmp(body, "{\"start\"", 8) == 0) answer(number, DONE), started = 1;
    else if (strncmp(body, "{\"wait\"", 7) == 0) waiting = number;
    else if (strncmp(body, "{\"receive\"", 10) == 0) received(number);
    else if (strncmp(body, "\"shutdown\"", 10) == 0) reboot(RB_AUTOBOOT);
    else answer(number, "{\"Err\":{\"kind\":\"internal\",\"message\":\"\\u001b[2Jno\",\"cause\":null}}");
}

/* What the file server has answered, and how much of that the host was given credit for. */
static char heard[1 << 20];
static size_t got;

/* Serves one frame. */
static void pump(void) {
    uint8_t bytes[8];
    take(bytes, sizeof bytes);
    uint32_t number = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    uint32_t length = bytes[5] | bytes[6] << 8 | bytes[7] << 16;
    take(body, length);
    body[length] = 0;
    if (bytes[4] == CALL) called(number);
    if (bytes[4] == DATA && number == answers && got + length <= sizeof heard) {
        memcpy(heard + got, body, length), got += length;
        frame(answers, CREDIT, &length, 4);
    }
}

/* Asks the file server for one thing; gives the error of its answer, whose bytes are in `heard` from 16 on. */
static int ask(uint32_t opcode, uint64_t node, const void *words, size_t length) {
    static uint64_t unique;
    struct request request = { 40 + length, opcode, ++unique, node, 0, 0, 0, 0 };
    char data[4096];
    memcpy(data, &request, 40), memcpy(data + 40, words, length);
    frame(requests, DATA, data, 40 + length);
    if (opcode == 2 || opcode == 36 || opcode == 42) return 0;
    uint32_t whole = 16;
    got = 0;
    do {
        pump();
        if (got >= 4) memcpy(&whole, heard, 4);
    } while (got < whole);
    int32_t error;
    memcpy(&error, heard + 4, 4);
    return -error;
}

#define WORDS(...) (uint32_t[]){ __VA_ARGS__ }, sizeof((uint32_t[]){ __VA_ARGS__ })
#define TEXT(text) text, sizeof text

/* Asks for what no kernel would ask for; gives the line of the first answer that is not as it should be. */
static int session(void) {
    uint64_t share, file, directory, open;
#define WANT(error, ...) if (ask(__VA_ARGS__) != error) return __LINE__ - FIRST_LINE
#define KEEP(number) memcpy(&number, heard + 16, 8)
    enum { FIRST_LINE = __LINE__ };
    WANT(116, 3, 4711, WORDS(0, 0, 0, 0));
    WANT(71, 26, 0, WORDS(8, 0, 0, 0));
    WANT(22, 26, 0, WORDS(7));
    WANT(0, 26, 0, WORDS(7, 31, 0, ~0u));
    WANT(38, 0, 1, WORDS(0));
    WANT(38, 39, 1, WORDS(0, 0, 0, 0, 0, 0, 0, 0));
    WANT(38, 41, 1, WORDS(0));
    WANT(38, 4096, ~0ull, WORDS(0));
    WANT(0, 1, 1, TEXT("0")); KEEP(share);
    WANT(22, 1, share, TEXT(".."));
    WANT(22, 1, share, TEXT("a/../../.."));
    WANT(22, 1, share, TEXT(""));
    WANT(22, 1, share, "unfinished", 10);
    WANT(22, 1, share, "", 0);
    WANT(116, 1, 4711, TEXT("file"));
    WANT(2, 1, share, TEXT("nothing"));
    WANT(0, 1, share, TEXT("large")); KEEP(file);
    WANT(20, 1, file, TEXT("x"));
    /* Reads and writes of more than there may be, and of what was never opened. */
    WANT(9, 15, file, WORDS(4711, 0, 0, 0, 100, 0, 0, 0, 0, 0));
    WANT(0, 14, file, WORDS(0, 0)); KEEP(open);
    WANT(0, 15, file, WORDS(open, 0, 0, 0, ~0u, 0, 0, 0, 0, 0));
    if (got != 16 + (128 << 10)) return __LINE__ - FIRST_LINE;
    WANT(0, 15, file, WORDS(open, 0, ~0u, 0x7fff, 1 << 17, 0, 0, 0, 0, 0));
    WANT(22, 15, file, WORDS(open, 0, 0));
    WANT(22, 16, file, WORDS(open, 0, 0, 0, 4096, 0, 0, 0, 0, 0));
    WANT(9, 28, file, WORDS(open, 0, 0, 0, 4096, 0, 0, 0, 0, 0));
    WANT(0, 18, file, WORDS(open, 0, 0, 0, 0, 0));
    WANT(9, 18, file, WORDS(open, 0, 0, 0, 0, 0));
    WANT(9, 15, file, WORDS(open, 0, 0, 0, 100, 0, 0, 0, 0, 0));
    /* A directory that is read from places that it never named. */
    WANT(0, 27, share, WORDS(0, 0)); KEEP(directory);
    WANT(22, 28, share, WORDS(directory, 0, ~0u, ~0u, 4096, 0, 0, 0, 0, 0));
    for (uint32_t cookie = 1; cookie != 0; cookie <<= 1) {
        int error = ask(28, share, WORDS(directory, 0, cookie, 0, ~0u, 0, 0, 0, 0, 0));
        if ((error != 0 && error != 22) || got > 16 + (128 << 10)) return __LINE__ - FIRST_LINE;
    }
    WANT(9, 15, share, WORDS(directory, 0, 0, 0, 100, 0, 0, 0, 0, 0));
    /* Devices, and names of what was never looked up. */
    WANT(1, 8, share, "\xb6\x21\0\0\5\1\0\0\0\0\0\0\0\0\0\0null", 21);
    WANT(116, 12, share, "\xff\xff\0\0\0\0\0\0large\0moved", 20);
    WANT(116, 13, share, "\xff\xff\0\0\0\0\0\0linked", 15);
    WANT(61, 22, file, "\xff\xff\xff\xff\0\0\0\0security.none", 22);
    /* What is forgotten more often than it was known is gone, and the root never is. */
    ask(2, 1, WORDS(~0u, ~0u)), ask(2, file, WORDS(~0u, ~0u)), ask(42, 0, WORDS(~0u, 0, 1, 0)), ask(36, 0, WORDS(1, 0));
    WANT(116, 14, file, WORDS(0, 0));
    WANT(0, 3, 1, WORDS(0, 0, 0, 0));
    /* Half a request, and no more. */
    frame(requests, DATA, "\377", 1), frame(requests, END, "", 0);
    return 0;
}

static void serve(void) {
    for (;;) {
        pump();
        if (!started || !waiting || !is("asks")) continue;
        char json[64];
        snprintf(json, sizeof json, "{\"Ok\":{\"exit\":{\"code\":%d}}}", session());
        ended(json);
        mode[0] = 0;
    }
}

int main(void) {
    boot();
    put("HULLAGNT", 8);
    serve();
}
