// Memory that runs out at any moment raises an exception. It ends no process, no later
// call waits forever, and a reset works again once there is memory.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <new>
#include <vector>

#include "doom/doom_env.h"
#include "pool/counting_env.h"
#include "pool/env_pool.h"
#include "pool/worker_pool.h"
#include "tests/check.h"
#include "tests/fake_game.h"

namespace {

// The allocation with this number fails, counted from when it is set; 0: none.
std::atomic<long> failing = 0;

}  // namespace

// NOLINTBEGIN(misc-new-delete-overloads)
void* operator new(std::size_t size) {
  if (failing > 0 && --failing == 0) throw std::bad_alloc();
  void* const memory = std::malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
// NOLINTEND(misc-new-delete-overloads)

namespace jaxfactory {
namespace {

constexpr int kDone = 7;  // the job needed fewer allocations
long number = 0;          // of the allocation that is to fail

void Arm() { failing = number; }

// Runs `job` in one process after another, whose first, second, ... allocation fails.
void ForEachAllocation(const char* what, const std::function<bool()>& job) {
  for (number = 1;; ++number) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      _exit(job() ? 0 : kDone);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == kDone) return;
    if (status != 0) {
      std::fprintf(stderr, "%s: allocation %ld: status %d\n", what, number, status);
    }
    CHECK(status == 0);
  }
}

// Whether an allocation has failed by now; from here on none does.
bool Failed() { return failing.exchange(0) <= 0; }

bool StartThreads() {
  sigset_t before, after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  Arm();
  try {
    WorkerPool workers(3, false, false);
    for (int i = 0; i < 3; ++i) workers.Run(i, [] {});
  } catch (const std::exception&) {
  }
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (int signal = 1; signal < NSIG; ++signal) {
    CHECK(sigismember(&before, signal) == sigismember(&after, signal));
  }
  return Failed();
}

void Reset(EnvPool& pool) {
  Position position;
  pool.SendReset(0);
  while (!pool.Recv(0, std::chrono::milliseconds(100), &position)) {
  }
}

bool StepAPool() {
  PoolConfig config;
  config.num_envs = 4;
  config.num_workers = 2;
  Arm();
  try {
    EnvPool pool(config, CountingKind({}));
    try {
      Position position;
      Reset(pool);
      pool.Send(0, std::vector<std::int32_t>(4, 1));
      while (!pool.Recv(0, std::chrono::milliseconds(100), &position)) {
      }
    } catch (const std::exception&) {
    }
    const bool failed = Failed();
    Reset(pool);
    return failed;
  } catch (const std::bad_alloc&) {
  } catch (const EnvError&) {
  }
  return Failed();
}

bool PlayAMatch() {
  DoomConfig config = Game("none");
  config.match.agents = 2;
  const Row one(config), two(config);
  const StepSlot slots[] = {one.slot, two.slot};
  const std::int32_t actions[] = {0, 1};
  const auto finish = [](DoomEnv& env) {
    while (!env.Advance()) {
    }
  };
  Arm();
  try {
    DoomEnv env(config, 1);
    try {
      env.BeginReset(slots);
      finish(env);
      env.BeginStep(actions, slots);
      finish(env);
    } catch (const std::exception&) {
    }
    const bool failed = Failed();
    try {
      env.BeginStep(actions, slots);
      finish(env);
    } catch (const EngineError&) {
    }
    env.BeginReset(slots);
    finish(env);
    return failed;
  } catch (const std::bad_alloc&) {
  }
  return Failed();
}

}  // namespace
}  // namespace jaxfactory

int main(int, char** argv) {
  jaxfactory::FindFakeEngine(argv[0]);
  jaxfactory::ForEachAllocation("threads", jaxfactory::StartThreads);
  jaxfactory::ForEachAllocation("a pool", jaxfactory::StepAPool);
  jaxfactory::ForEachAllocation("a match", jaxfactory::PlayAMatch);
}
