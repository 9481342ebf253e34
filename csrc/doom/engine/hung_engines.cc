#include "doom/engine/hung_engines.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "doom/engine/abandoned_lock.h"
#include "doom/engine/wait_limit.h"

namespace jaxfactory {
namespace {

using std::chrono::steady_clock;

using Seconds = WatchedClock::Seconds;

constexpr Seconds kLongest{1};

// The wait of one thread.
struct Wait {
  std::atomic<pid_t> engine = 0;  // 0 while it does not wait
  std::atomic<steady_clock::time_point> since;
  std::atomic<double> limit = 0;
  pid_t thread = 0;  // guarded by the registry's mutex
  // As `KillHungEngines` has seen it; guarded by the registry's mutex.
  steady_clock::time_point seen;
  Seconds begun{0};  // when it was first seen, by the registry's clock
};

struct Waits {
  std::mutex mutex;
  std::vector<Wait*> all;  // guarded by mutex
  WatchedClock clock;      // of `KillHungEngines`; guarded by mutex
};

void ForgetOtherThreads();

// Never destroyed: threads may end after the statics are gone.
Waits& Registry() {
  static auto* const waits = [] {
    auto* const made = new Waits;  // first: it may fail, and is then tried again
    pthread_atfork([] { Registry().mutex.lock(); }, [] { Registry().mutex.unlock(); },
                   ForgetOtherThreads);
    return made;
  }();
  return *waits;
}

// Of this thread, if it has ever waited.
thread_local Wait* own_wait = nullptr;

void Register(Waits& waits, Wait* wait) {
  wait->thread = static_cast<pid_t>(syscall(SYS_gettid));
  waits.all.push_back(wait);
}

// In a forked process, which has no other threads, and whose engines are its parent's.
void ForgetOtherThreads() {
  Waits& waits = Registry();
  waits.all.clear();
  if (own_wait != nullptr) Register(waits, own_wait);
  waits.mutex.unlock();
}

// Of each thread; registered from its first wait until the thread ends.
struct OwnWait {
  OwnWait() {
    const std::scoped_lock lock(Registry().mutex);
    Register(Registry(), &wait);
    own_wait = &wait;
  }
  ~OwnWait() {
    const std::scoped_lock lock(Registry().mutex);
    own_wait = nullptr;
    std::erase(Registry().all, &wait);
  }
  OwnWait(const OwnWait&) = delete;
  OwnWait& operator=(const OwnWait&) = delete;
  Wait wait;
};

Wait& Own() {
  thread_local OwnWait own;
  return own.wait;
}

// Whether a child has ended; it is left for others to wait for.
bool Ended(pid_t child) {
  siginfo_t info{};
  const int found =
      waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT);
  return found != 0 || info.si_pid == child;
}

}  // namespace

Receiving::Receiving(pid_t engine, double limit) {
  Wait& wait = Own();
  wait.since.store(steady_clock::now(), std::memory_order_relaxed);
  wait.limit.store(limit, std::memory_order_relaxed);
  wait.engine.store(engine, std::memory_order_release);
}

Receiving::~Receiving() { Own().engine.store(0, std::memory_order_release); }

void KillHungEngines(Patience patience) {
  Waits& waits = Registry();
  const std::scoped_lock lock(waits.mutex);
  const Seconds now = waits.clock.Look();
  for (Wait* wait : waits.all) {
    const pid_t engine = wait->engine.load(std::memory_order_acquire);
    const auto since = wait->since.load(std::memory_order_relaxed);
    const bool same = engine > 0 && since == wait->seen;
    wait->seen = since;
    if (!same) wait->begun = now;
    const Seconds limit{wait->limit.load(std::memory_order_relaxed)};
    const Seconds longest =
        patience == Patience::kUntilLimit ? std::max(limit, kLongest) : kLongest;
    if (!same || now - wait->begun < kLongest) continue;
    if (Ended(engine)) {
      ReleaseAbandonedLock(wait->thread);
    } else if (now - wait->begun >= longest) {
      kill(engine, SIGKILL);
    }
  }
}

}  // namespace jaxfactory
