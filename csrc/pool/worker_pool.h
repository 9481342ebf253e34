// Threads, each pinned to a core and with its own queue.
#ifndef JAXFACTORY_POOL_WORKER_POOL_H_
#define JAXFACTORY_POOL_WORKER_POOL_H_

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace jaxfactory {

// Cores that the calling thread may use, in ascending order; at least one.
std::vector<int> UsableCores();

// Restricts a process or thread, 0 for the calling thread, to at least one core.
// Ignores errors.
void RunOn(pid_t who, const std::vector<int>& cores);

// Runs jobs on their assigned workers, each worker's in order. Stopping drops jobs that
// have not started and joins the threads; a long job must check `stopping` itself. Jobs
// must not throw. A serial pool runs each job immediately on the caller's thread; its
// only thread calls `watch` repeatedly, as nobody else can meanwhile.
class WorkerPool {
 public:
  using Job = std::function<void()>;

  // Throws EnvError if the threads cannot be started.
  WorkerPool(
      int num_workers, bool pin, bool serial, std::function<void()> watch = [] {});
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()); }
  void Run(int worker, Job job);
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }
  // Calls `meanwhile` repeatedly while that takes long.
  void Stop(const std::function<void()>& meanwhile);

 private:
  struct Worker {
    std::mutex mutex;
    std::condition_variable wake;
    std::deque<Job> jobs;  // guarded by mutex
    std::condition_variable ended;
    bool done = false;  // guarded by mutex
    std::thread thread;
  };

  void Start(Worker& worker, int core, bool pin);
  void Loop(Worker& worker);
  void Watch(Worker& worker);

  const bool serial_;
  const std::function<void()> watch_;
  std::atomic<bool> stopping_ = false;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_POOL_WORKER_POOL_H_
