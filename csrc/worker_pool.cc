#include "worker_pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <chrono>
#include <utility>

namespace jaxfactory {
namespace {

// How long a worker may take to end before it is helped, and again.
constexpr std::chrono::milliseconds kPatience{200};

void PinTo(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  // Both only make it faster: where they are forbidden, go on without.
  pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
  // An engine that wakes does not interrupt the one that runs: fewer switches. The
  // engines inherit this, and give way to whoever acts and learns on the same core.
  const sched_param param{};
  sched_setscheduler(0, SCHED_BATCH, &param);
}

}  // namespace

std::vector<int> UsableCores() {
  std::vector<int> cores;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &set)) cores.push_back(core);
    }
  }
  if (cores.empty()) cores.push_back(0);
  return cores;
}

WorkerPool::WorkerPool(int num_workers, bool pin, bool serial) : serial_(serial) {
  const std::vector<int> cores = UsableCores();
  // Signals are for the caller's threads: Python handles them there.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (int i = 0; i < num_workers; ++i) {
    workers_.push_back(std::make_unique<Worker>());
    if (serial_) continue;
    Worker& worker = *workers_.back();
    const int core = cores[static_cast<std::size_t>(i) % cores.size()];
    worker.thread = std::thread([this, &worker, core, pin] {
      if (pin) PinTo(core);
      Loop(worker);
      const std::scoped_lock lock(worker.mutex);
      worker.done = true;
      worker.ended.notify_all();
    });
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
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
