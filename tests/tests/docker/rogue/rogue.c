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
static uint32_t waiting, visits;

static int is(const char *name) { return strcmp(mode, name) == 0; }

/* The first call: it tells the name. */
static void configured(uint32_t number) {
    char *name = strstr(body, "\"hostname\":\"");
    if (name) sscanf(name + 12, "%63[^\"]", mode);
    char junk[4096];
    memset(junk, 'x', sizeof junk);
    if (is("type")) head(1, 9, 0);
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
    uint32_t out = field("\"stdout\":"), files = field("\"requests\":");
    if (is("overrun")) for (int i = 0; i < 100; i++) frame(out, DATA, data, sizeof data);
    answer(number, DONE);
    usleep(300000);
    if (is("credit")) frame(field("\"answers\":"), CREDIT, "\1\0\0\0", 4);
    if (is("fuse")) {
        /* A request that says that it is shorter than its own header. */
        memset(data, 3, 40);
        frame(files, DATA, data, 40);
    }
}

static void serve(void) {
    for (;;) {
        uint8_t bytes[8];
        take(bytes, sizeof bytes);
        uint32_t number = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
        uint32_t length = bytes[5] | bytes[6] << 8 | bytes[7] << 16;
        take(body, length);
        body[length] = 0;
        if (bytes[4] != CALL) continue;
        if (strncmp(body, "{\"configure\"", 12) == 0) configured(number);
        else if (strncmp(body, "{\"create\"", 9) == 0) created(number);
        else if (strncmp(body, "{\"start\"", 8) == 0) answer(number, DONE);
        else if (strncmp(body, "{\"wait\"", 7) == 0) waiting = number;
        else if (strncmp(body, "{\"receive\"", 10) == 0 && is("flood")) {
            if (visits++ < FLOOD) answer(number, "{\"Ok\":{\"came\":{\"visitor\":{\"socket\":{\"node\":99999}}}}}");
            else if (waiting) answer(waiting, "{\"Ok\":{\"exit\":{\"code\":7}}}"), answer(waiting, DONE);
        }
        else if (strncmp(body, "\"shutdown\"", 10) == 0) reboot(RB_AUTOBOOT);
        else if (strncmp(body, "{\"receive\"", 10) != 0)
            answer(number, "{\"Err\":{\"kind\":\"internal\",\"message\":\"\\u001b[2Jno\",\"cause\":null}}");
    }
}

int main(void) {
    boot();
    put("HULLAGNT", 8);
    serve();
}
