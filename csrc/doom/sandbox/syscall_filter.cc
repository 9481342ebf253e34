#include "doom/sandbox/syscall_filter.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

// The C library's headers may be older than the running kernel; from 424 on, the
// numbers are the same on all processors.
// NOLINTBEGIN(cppcoreguidelines-macro-usage)
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
// NOLINTEND(cppcoreguidelines-macro-usage)

namespace jaxfactory {
namespace {

using Instruction = SyscallFilter::Instruction;

// From <linux/filter.h>, <linux/seccomp.h> and <linux/audit.h>.
constexpr std::uint16_t kLoad = 0x20, kAnd = 0x54, kIfEqual = 0x15, kIfAtLeast = 0x35,
                        kIfAnyBit = 0x45, kReturn = 0x06;
constexpr std::uint32_t kAllow = 0x7fff0000, kRefuse = 0x00050000;
constexpr int kSetFilter = 1, kFilterMode = 2;
// Without it, kernels before 5.16 make all memory accesses of the process slower.
constexpr unsigned kSpeculate = 1 << 2;
// Offsets in struct seccomp_data. Of an argument, the lower half: these processors are
// little-endian, and the calls below use only 32 bits.
constexpr std::uint32_t kNumber = 0, kProcessor = 4;
constexpr std::uint32_t Argument(unsigned i) { return 16 + 8 * i; }

#if defined(__x86_64__) && !defined(__ILP32__)
constexpr std::uint32_t kThisProcessor = 0xC000003E;
#elif defined(__aarch64__) && !defined(__ILP32__) && !defined(__AARCH64EB__)
constexpr std::uint32_t kThisProcessor = 0xC00000B7;
#else
constexpr std::uint32_t kThisProcessor = 0;
#endif
// The first call number of x32, another ABI of the same processor.
constexpr std::uint32_t kX32 = 0x40000000;

// Frequent calls, which are allowed first.
constexpr long kFrequent[] = {
    SYS_futex,   SYS_recvfrom,      SYS_sched_yield,     SYS_sendto,
    SYS_read,    SYS_lseek,         SYS_clock_nanosleep, SYS_ppoll,
    SYS_madvise, SYS_clock_gettime, SYS_nanosleep,
#ifdef SYS_poll
    SYS_poll,
#endif
};

// Refused with any arguments.
constexpr long kForbidden[] = {
    // Modes, owners and times of files that the engine cannot open.
    SYS_fchmodat,
    452 /* fchmodat2 */,
    SYS_fchownat,
    SYS_fchown,
    SYS_utimensat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_fremovexattr,
    463 /* setxattrat */,
    466 /* removexattrat */,
    469 /* file_setattr */,
    SYS_truncate,
#ifdef SYS_chmod  // newer processors have only the calls above
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
    SYS_utime,
    SYS_utimes,
    SYS_futimesat,
#endif
    SYS_inotify_add_watch,
    SYS_fanotify_init,
    SYS_open_by_handle_at,
    // Other processes.
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kcmp,
    SYS_setpriority,
    SYS_ioprio_set,
    SYS_sched_setaffinity,
    SYS_sched_setscheduler,
    SYS_sched_setparam,
    SYS_sched_setattr,
    SYS_migrate_pages,
    SYS_move_pages,
    SYS_pidfd_send_signal,
    438 /* pidfd_getfd */,
    440 /* process_madvise */,
    448 /* process_mrelease */,
    // Shared memory and messages of the user's other processes, except in files.
    SYS_shmget,
    SYS_shmat,
    SYS_shmctl,
    SYS_semget,
    SYS_semctl,
    SYS_semop,
    SYS_semtimedop,
    SYS_msgget,
    SYS_msgctl,
    SYS_msgsnd,
    SYS_msgrcv,
    SYS_mq_open,
    SYS_mq_unlink,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    // Kernel interfaces that an engine does not need and that had vulnerabilities.
    SYS_socketpair,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    425 /* io_uring_setup */,
    426 /* io_uring_enter */,
    427 /* io_uring_register */,
    SYS_unshare,
    SYS_setns,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    428 /* open_tree */,
    429 /* move_mount */,
    430 /* fsopen */,
    431 /* fsconfig */,
    432 /* fsmount */,
    433 /* fspick */,
    442 /* mount_setattr */,
    467 /* open_tree_attr */,
    // Privileged calls: in some containers engines run as root.
    SYS_kexec_load,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_quotactl,
    443 /* quotactl_fd */,
    SYS_syslog,
    SYS_vhangup,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#ifdef SYS_iopl
    SYS_iopl,
    SYS_ioperm,
    SYS_modify_ldt,
#endif
};

class Program {
 public:
  explicit Program(std::vector<Instruction>& out) : out_(out) {}

  void Load(std::uint32_t where) { Add(kLoad, where); }
  void Mask(std::uint32_t bits) { Add(kAnd, bits); }
  void Allow() { Add(kReturn, kAllow); }
  void Refuse(int error = EPERM) {
    Add(kReturn, kRefuse | static_cast<std::uint32_t>(error));
  }
  // Skips `skipped` instructions unless the loaded value passes the test.
  void If(std::uint16_t test, std::uint32_t value, std::uint8_t skipped) {
    out_.push_back({test, 0, skipped, value});
  }
  void Unless(std::uint16_t test, std::uint32_t value, std::uint8_t skipped) {
    out_.push_back({test, skipped, 0, value});
  }
  void IfCall(long number, std::uint8_t skipped) {
    If(kIfEqual, static_cast<std::uint32_t>(number), skipped);
  }

 private:
  void Add(std::uint16_t code, std::uint32_t value) {
    out_.push_back({code, 0, 0, value});
  }

  std::vector<Instruction>& out_;
};

}  // namespace

void SyscallFilter::Prepare(bool udp) {
  if (kThisProcessor == 0) return;
  constexpr std::uint32_t kAnyNamespace = 0x7E020000;  // the CLONE_NEW... flags
  constexpr std::uint32_t kSocketType = 0xF;           // the rest are flags
  constexpr std::uint32_t kUdp = 17, kDeviceEvents = 15;
  program_.clear();
  Program p(program_);
  p.Load(kProcessor);
  p.Unless(kIfEqual, kThisProcessor, 1);  // 32-bit calls have other numbers
  p.Refuse();
  p.Load(kNumber);
#ifdef __x86_64__
  p.If(kIfAtLeast, kX32, 1);
  p.Refuse();
#endif
  for (const long call : kFrequent) {
    p.IfCall(call, 1);
    p.Allow();
  }
  for (const long call : kForbidden) {
    p.IfCall(call, 1);
    p.Refuse();
  }

  // Its flags are in memory, which a filter cannot read. The C library then falls back
  // to `clone`.
  p.IfCall(SYS_clone3, 1);
  p.Refuse(ENOSYS);
  p.IfCall(SYS_clone, 4);
  p.Load(Argument(0));
  p.If(kIfAnyBit, kAnyNamespace, 1);
  p.Refuse();
  p.Allow();

  // The engine sets the mode of the shared memory that it creates. It may also have
  // opened its map and its executable, which must not become writable by others or
  // setuid.
  p.IfCall(SYS_fchmod, 4);
  p.Load(Argument(1));
  p.If(kIfAnyBit, static_cast<std::uint32_t>(~0644), 1);
  p.Refuse();
  p.Allow();

  p.IfCall(SYS_prlimit64, 4);  // 0: the process itself
  p.Load(Argument(0));
  p.Unless(kIfEqual, 0, 1);
  p.Refuse();
  p.Allow();

  // A library of the engine listens for new game controllers and crashes if it cannot.
  // Only the kernel and root send on this socket.
  p.IfCall(SYS_socket, udp ? 16 : 6);
  p.Load(Argument(0));
  p.If(kIfEqual, AF_NETLINK, 3);
  p.Load(Argument(2));
  p.If(kIfEqual, kDeviceEvents, udp ? 11 : 1);
  p.Allow();
  if (udp) {
    p.Load(Argument(0));
    p.If(kIfEqual, AF_INET, 8);
    p.Load(Argument(1));
    p.Mask(kSocketType);
    p.If(kIfEqual, SOCK_DGRAM, 5);
    p.Load(Argument(2));
    p.Unless(kIfEqual, 0, 2);  // the default protocol, which is UDP
    p.Unless(kIfEqual, kUdp, 1);
    p.Refuse();
    p.Allow();
  }
  p.Refuse(EACCES);
  p.Allow();
}

bool SyscallFilter::Enter() const {
  if (program_.empty()) return true;
  const struct {
    unsigned short size;
    const Instruction* program;
  } filter = {static_cast<unsigned short>(program_.size()), program_.data()};
  if (syscall(SYS_seccomp, kSetFilter, kSpeculate, &filter) == 0) return true;
  if (prctl(PR_SET_SECCOMP, kFilterMode, &filter, 0, 0) == 0) return true;
  return errno == EINVAL || errno == ENOSYS;
}

}  // namespace jaxfactory
