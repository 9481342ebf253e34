#include "pool/worker_pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "pool/env_error.h"

namespace jaxfactory {
namespace {

// How long to wait for a worker to end between calls of `meanwhile`.
constexpr std::chrono::milliseconds kPatience{200};

// A set of cores of any size: `cpu_set_t` itself is limited to 1,024.
class CoreSet {
 public:
  explicit CoreSet(std::size_t cores) : cores_(cores), set_(CPU_ALLOC(cores)) {
    if (set_ == nullptr) throw std::bad_alloc();
    CPU_ZERO_S(bytes(), set_);
  }
  ~CoreSet() { CPU_FREE(set_); }
  CoreSet(const CoreSet&) = delete;
  CoreSet& operator=(const CoreSet&) = delete;

  std::size_t bytes() const { return CPU_ALLOC_SIZE(cores_); }
  cpu_set_t* get() { return set_; }
  void Add(std::size_t core) { CPU_SET_S(core, bytes(), set_); }
  bool Has(std::size_t core) const { return CPU_ISSET_S(core, bytes(), set_) != 0; }

 private:
  std::size_t cores_;
  cpu_set_t* set_;
};

constexpr std::size_t kFewCores = 1024, kManyCores = 1 << 18;

// Signals are for the caller's threads: Python handles them there. Threads inherit the
// mask of the one that starts them.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

void PinTo(int core) {
  // Only optimizations: errors are ignored.
  try {
    RunOn(0, {core});
  } catch (const std::bad_alloc&) {  // ignored
  }
  // An engine that wakes does not interrupt the one that runs: fewer switches. The
  // engines inherit this, and yield to the acting and learning threads on their core.
  const sched_param param{};
  sched_setscheduler(0, SCHED_BATCH, &param);
}

}  // namespace

std::vector<int> UsableCores() {
  std::vector<int> cores;
  for (std::size_t most = kFewCores; most <= kManyCores; most *= 2) {
    CoreSet set(most);
    if (sched_getaffinity(0, set.bytes(), set.get()) == 0) {
      for (std::size_t core = 0; core < most; ++core) {
        if (set.Has(core)) cores.push_back(static_cast<int>(core));
      }
      break;
    }
    if (errno != EINVAL) break;  // the kernel supports more cores than the set
  }
  if (cores.empty()) cores.push_back(0);
  return cores;
}

void RunOn(pid_t who, const std::vector<int>& cores) {
  const auto most = static_cast<std::size_t>(*std::ranges::max_element(cores));
  CoreSet set(std::max(kFewCores, most + 1));
  for (const int core : cores) set.Add(static_cast<std::size_t>(core));
  sched_setaffinity(who, set.bytes(), set.get());
}

WorkerPool::WorkerPool(int num_workers, bool pin, bool serial,
                       std::function<void()> watch)
    : serial_(serial), watch_(std::move(watch)) {
  const std::vector<int> cores = UsableCores();
  const BlockedSignals blocked;
  try {
    for (int i = 0; i < num_workers; ++i) {
      workers_.push_back(std::make_unique<Worker>());
      const int core = cores[static_cast<std::size_t>(i) % cores.size()];
      Start(*workers_.back(), core, pin && !serial_);
    }
  } catch (const std::system_error& error) {
    const std::size_t running = workers_.size() - 1;
    Stop([] {});
    throw EnvError("Cannot start more than " + std::to_string(running) + " of the " +
                   std::to_string(num_workers) + " worker threads (" + error.what() +
                   "); use fewer workers, or raise the limit of processes.");
  } catch (...) {  // for want of memory
    Stop([] {});
    throw;
  }
}

void WorkerPool::Start(Worker& worker, int core, bool pin) {
  worker.thread = std::thread([this, &worker, core, pin] {
    if (pin) PinTo(core);
    serial_ ? Watch(worker) : Loop(worker);
    const std::scoped_lock lock(worker.mutex);
    worker.done = true;
    worker.ended.notify_all();
  });
}

WorkerPool::~WorkerPool() {
  Stop([] {});
}

void WorkerPool::Run(int worker, Job job) {
  if (serial_) {
    job();
    return;
  }
  Worker& target = *workers_[static_cast<std::size_t>(worker)];
  {
    const std::scoped_lock lock(target.mutex);
    target.jobs.push_back(std::move(job));
  }
  target.wake.notify_one();
}

void WorkerPool::Stop(const std::function<void()>& meanwhile) {
  for (const auto& worker : workers_) {
    const std::scoped_lock lock(worker->mutex);
    stopping_.store(true);
  }
  for (const auto& worker : workers_) {
    worker->wake.notify_all();
    if (!worker->thread.joinable()) continue;
    {
      std::unique_lock lock(worker->mutex);
      while (!worker->ended.wait_for(lock, kPatience, [&] { return worker->done; })) {
        meanwhile();
      }
    }
    worker->thread.join();
  }
}

void WorkerPool::Watch(Worker& worker) {
  std::unique_lock lock(worker.mutex);
  while (!worker.wake.wait_for(lock, kPatience, [&] { return stopping_.load(); })) {
    lock.unlock();
    watch_();
    lock.lock();
  }
}

void WorkerPool::Loop(Worker& worker) {
  while (true) {
    Job job;
    {
      std::unique_lock lock(worker.mutex);
      worker.wake.wait(lock, [&] { return stopping_ || !worker.jobs.empty(); });
      if (stopping_) return;
      job = std::move(worker.jobs.front());
      worker.jobs.pop_front();
    }
    job();
  }
}

}  // namespace jaxfactory
