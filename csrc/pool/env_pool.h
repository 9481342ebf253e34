// The pool: action -> Send -> workers advance their environments, which write straight
// into the slab -> Recv waits for the group, or rethrows its first error.
#ifndef JAXFACTORY_POOL_ENV_POOL_H_
#define JAXFACTORY_POOL_ENV_POOL_H_

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "pool/config.h"
#include "pool/env.h"
#include "pool/step_arrays.h"
#include "pool/worker_pool.h"

namespace jaxfactory {

// Creates the environment whose first row is `row`, with that row's seed.
using EnvFactory = std::function<std::unique_ptr<Env>(int row, std::uint32_t seed)>;

// When a thread of the caller waits for environments longer than expected.
enum class Stall { kReceiving, kClosing };

// The pool's description of its environments.
struct EnvKind {
  RowSizes sizes;
  std::vector<int> head_sizes;  // choices of each action head
  EnvFactory make;
  std::vector<Field> fields{};  // reported besides JAXFACTORY_STEP_FIELDS
  // Called repeatedly while the caller waits; may kill processes that block it.
  std::function<void(Stall)> on_stall = [](Stall) {};
};

class EnvPool {
 public:
  EnvPool(const PoolConfig& config, EnvKind kind);
  ~EnvPool();
  EnvPool(const EnvPool&) = delete;
  EnvPool& operator=(const EnvPool&) = delete;

  // Reseeds a row's environment: its group's next reset starts the first episode of
  // this seed. If an environment fills several rows, the first row's seed is used.
  // Throws std::logic_error while the group is stepping.
  void Seed(int row, std::uint32_t seed);
  // Starts a new episode in every environment of a group, in slot 0 of the first slab.
  void SendReset(int group);
  // Starts a step; `actions` has one row for each environment of the group and one
  // index for each head. Throws std::invalid_argument for an index outside its head.
  void Send(int group, std::span<const std::int32_t> actions);
  // Checks actions as `Send` does, for any number of environments.
  void Check(std::span<const std::int32_t> actions) const;
  // Waits at most `patience` for a group. Returns false if it is not ready; rethrows
  // the first error of one of its environments.
  bool Recv(int group, std::chrono::milliseconds patience, Position* position);
  // Stops the workers and destroys the environments. Later calls throw. In a process
  // that was forked from the pool's it ends nothing, and all other calls throw.
  void Close();

  const PoolConfig& config() const { return config_; }
  const StepArrays& arrays() const { return arrays_; }
  int group_size() const { return config_.num_envs / config_.num_groups; }  // rows
  const std::vector<std::uint32_t>& seeds() const { return seeds_; }
  // In the order of their rows; none once the pool is closed.
  const std::vector<std::unique_ptr<Env>>& envs() const { return envs_; }
  // Whether a group has been sent a reset or actions and has not been received.
  bool sent(int group) { return GroupAt(group).sent; }

 private:
  struct Group {
    std::vector<std::vector<int>> envs_of_worker;  // by their first rows
    std::vector<int> workers;                      // that have any
    std::vector<std::int32_t> actions;
    std::int64_t steps = 0;  // sent since the reset
    bool sent = false;       // and not yet received
    bool ready_once = false;
    int pending = 0;           // workers at work; guarded by mutex_
    std::exception_ptr error;  // guarded by mutex_
  };

  void Dispatch(int group, bool reset);
  void Work(Group& group, int worker, bool reset, Position position);
  std::exception_ptr Advance(Group& group, int worker, bool reset, Position position);
  void Finish(Group& group, std::exception_ptr error);
  // Whether this process was forked from the pool's. It has none of the threads, and
  // the engines are not its own.
  bool foreign() const;
  Position PositionOf(std::int64_t step) const;
  Group& GroupAt(int group);

  const pid_t process_;
  PoolConfig config_;
  EnvKind kind_;
  std::vector<std::uint32_t> seeds_;
  StepArrays arrays_;
  std::vector<std::unique_ptr<Env>> envs_;
  std::vector<Group> groups_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::atomic<bool> closed_ = false;
  std::unique_ptr<WorkerPool> workers_;
};

// The seed of environment `index` in a pool with `seed`.
std::uint32_t EnvSeed(std::uint64_t seed, int index);

}  // namespace jaxfactory

#endif  // JAXFACTORY_POOL_ENV_POOL_H_
