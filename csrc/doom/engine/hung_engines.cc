#include "doom/engine/hung_engines.h"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

namespace jaxfactory {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds kLongest{1};

// The wait of one thread.
struct Wait {
  std::atomic<pid_t> engine = 0;  // 0 while it does not wait
  std::atomic<steady_clock::time_point> since, deadline;
};

struct Waits {
  std::mutex mutex;
  std::vector<Wait*> all;  // guarded by mutex
};

// Never destroyed: threads may end after the statics are gone.
Waits& Registry() {
  static auto* const waits = new Waits;
  return *waits;
}

// Of each thread; registered from its first wait until the thread ends.
struct OwnWait {
  OwnWait() {
    const std::scoped_lock lock(Registry().mutex);
    Registry().all.push_back(&wait);
  }
  ~OwnWait() {
    const std::scoped_lock lock(Registry().mutex);
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

}  // namespace

Receiving::Receiving(pid_t engine, steady_clock::time_point deadline) {
  Wait& wait = Own();
  wait.since.store(steady_clock::now(), std::memory_order_relaxed);
  wait.deadline.store(deadline, std::memory_order_relaxed);
  wait.engine.store(engine, std::memory_order_release);
}

Receiving::~Receiving() { Own().engine.store(0, std::memory_order_release); }

void KillHungEngines(Patience patience) {
  const auto now = steady_clock::now();
  const std::scoped_lock lock(Registry().mutex);
  for (Wait* wait : Registry().all) {
    const pid_t engine = wait->engine.load(std::memory_order_acquire);
    if (engine <= 0 || now - wait->since.load(std::memory_order_relaxed) < kLongest) {
      continue;
    }
    const auto deadline = wait->deadline.load(std::memory_order_relaxed);
    if (patience == Patience::kUntilDeadline && now < deadline) continue;
    kill(engine, SIGKILL);
  }
}

}  // namespace jaxfactory
