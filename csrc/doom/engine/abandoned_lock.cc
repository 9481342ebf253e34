#include "doom/engine/abandoned_lock.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <fstream>
#include <limits>
#include <string>

namespace jaxfactory {
namespace {

// As in glibc since 2.25 (nptl/pthread_cond_common.c): 0 if the lock is free, 1 if it
// is held, 2 if somebody waits for it as well. The other bits of the word are a number.
constexpr std::uint32_t kLockBits = 3, kHeldAndAwaited = 2;
// A mutex has this bit in its word instead; the kernel itself releases those.
constexpr std::uint32_t kMutexIsAwaited = FUTEX_WAITERS;

}  // namespace

bool ReleaseAbandonedLock(pid_t thread) {
  // "number arguments... stack instruction", or "running".
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/syscall");
  long number = -1;
  std::uintptr_t word = 0, operation = 0, expected = 0, timeout = 0;
  file >> number >> std::hex >> word >> operation >> expected >> timeout;
  // Waits for messages have a limit, and locks of this process are private.
  const bool lock = file && number == SYS_futex && operation == FUTEX_WAIT &&
                    (expected & kLockBits) == kHeldAndAwaited &&
                    (expected & kMutexIsAwaited) == 0 && timeout == 0;
  if (!lock) return false;
  // The thread waits there, so it is mapped.  NOLINTNEXTLINE(performance-no-int-to-ptr)
  auto* const address = reinterpret_cast<std::uint32_t*>(word);
  std::atomic_ref<std::uint32_t>(*address).fetch_and(~kLockBits);
  syscall(SYS_futex, address, FUTEX_WAKE, std::numeric_limits<int>::max(), nullptr,
          nullptr, 0);
  return true;
}

}  // namespace jaxfactory
