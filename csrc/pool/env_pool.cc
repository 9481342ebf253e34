#include "pool/env_pool.h"

#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace jaxfactory {

std::uint32_t EnvSeed(std::uint64_t seed, int index) {
  // SplitMix64 (Steele et al. 2014): neighboring inputs give unrelated outputs.
  std::uint64_t x = seed * 0x100000001B3ULL + static_cast<std::uint64_t>(index) + 1;
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return static_cast<std::uint32_t>((x ^ (x >> 31)) >> 32);
}

EnvPool::EnvPool(const PoolConfig& config, EnvKind kind)
    : process_(getpid()),
      config_(config),
      kind_(std::move(kind)),
      seeds_(config.env_seeds),
      arrays_(config_, kind_.sizes, kind_.fields) {
  for (int i = static_cast<int>(seeds_.size()); i < config_.num_envs; ++i) {
    seeds_.push_back(EnvSeed(config_.seed, i));
  }
  const int step = config_.rows_per_env;
  if (step < 1 || group_size() % step != 0) {
    throw std::invalid_argument("The " + std::to_string(group_size()) +
                                " rows of a group are not a multiple of the " +
                                std::to_string(step) + " that one environment fills.");
  }
  for (int row = 0; row < config_.num_envs; row += step) {
    envs_.push_back(kind_.make(row, seeds_[static_cast<std::size_t>(row)]));
  }

  int num_workers = config_.serial ? 1 : config_.num_workers;
  if (num_workers == 0) num_workers = static_cast<int>(UsableCores().size());
  num_workers = std::min(num_workers, static_cast<int>(envs_.size()));
  config_.num_workers = num_workers;
  groups_.resize(static_cast<std::size_t>(config_.num_groups));
  for (int g = 0; g < config_.num_groups; ++g) {
    Group& group = groups_[static_cast<std::size_t>(g)];
    group.envs_of_worker.resize(static_cast<std::size_t>(num_workers));
    for (int row = g * group_size(); row < (g + 1) * group_size(); row += step) {
      const int worker = row / step % num_workers;
      auto& mine = group.envs_of_worker[static_cast<std::size_t>(worker)];
      if (mine.empty()) group.workers.push_back(worker);
      mine.push_back(row);
    }
    group.actions.resize(static_cast<std::size_t>(group_size()) *
                         kind_.head_sizes.size());
  }
  workers_ = std::make_unique<WorkerPool>(
      num_workers, config_.pin, config_.serial,
      [on_stall = kind_.on_stall] { on_stall(Stall::kReceiving); });
}

EnvPool::~EnvPool() { Close(); }

bool EnvPool::foreign() const { return getpid() != process_; }

void EnvPool::Close() {
  if (foreign()) {
    // Never destroyed: that would end the engines, and wait for threads.
    for (auto& env : envs_) static_cast<void>(env.release());
    envs_.clear();
    static_cast<void>(workers_.release());
    closed_ = true;
    return;
  }
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
  }
  workers_->Stop([this] { kind_.on_stall(Stall::kClosing); });
  envs_.clear();
}

EnvPool::Group& EnvPool::GroupAt(int group) {
  if (closed_) throw std::logic_error("The pool is closed.");
  if (foreign()) {
    throw std::logic_error(
        "The pool belongs to process " + std::to_string(process_) +
        ", from which this one was forked; create a pool after the fork.");
  }
  if (group < 0 || group >= config_.num_groups) {
    throw std::invalid_argument("Group " + std::to_string(group) +
                                " does not exist; there are " +
                                std::to_string(config_.num_groups) + ", from 0.");
  }
  return groups_[static_cast<std::size_t>(group)];
}

void EnvPool::Seed(int row, std::uint32_t seed) {
  if (row < 0 || row >= config_.num_envs) {
    throw std::invalid_argument("Environment " + std::to_string(row) +
                                " does not exist; there are " +
                                std::to_string(config_.num_envs) + ", from 0.");
  }
  const int group = row / group_size();
  if (GroupAt(group).sent) {
    throw std::logic_error("Group " + std::to_string(group) +
                           " is still stepping; call recv for it before seeding.");
  }
  seeds_[static_cast<std::size_t>(row)] = seed;
  // An environment of several rows is seeded by its first.
  if (row % config_.rows_per_env != 0) return;
  envs_[static_cast<std::size_t>(row / config_.rows_per_env)]->Seed(seed);
}

void EnvPool::SendReset(int group) {
  Group& target = GroupAt(group);
  if (target.sent) {
    throw std::logic_error("Group " + std::to_string(group) +
                           " is still stepping; call recv for it before reset.");
  }
  target.steps = 0;
  Dispatch(group, /*reset=*/true);
}

void EnvPool::Send(int group, std::span<const std::int32_t> actions) {
  Group& target = GroupAt(group);
  if (target.sent) {
    throw std::logic_error("Group " + std::to_string(group) +
                           " has been sent actions already; call recv for it first.");
  }
  if (!target.ready_once) {
    throw std::logic_error("Call reset before the first step.");
  }
  if (actions.size() != target.actions.size()) {
    throw std::invalid_argument("Expected " + std::to_string(group_size()) + " x " +
                                std::to_string(kind_.head_sizes.size()) +
                                " action indices, got " +
                                std::to_string(actions.size()) + " values.");
  }
  Check(actions);
  std::copy(actions.begin(), actions.end(), target.actions.begin());
  ++target.steps;
  Dispatch(group, /*reset=*/false);
}

void EnvPool::Check(std::span<const std::int32_t> actions) const {
  for (std::size_t i = 0; i < actions.size(); ++i) {
    const std::size_t head = i % kind_.head_sizes.size();
    if (actions[i] < 0 || actions[i] >= kind_.head_sizes[head]) {
      throw std::invalid_argument(
          "Action index " + std::to_string(actions[i]) + " of environment " +
          std::to_string(i / kind_.head_sizes.size()) + " is outside head " +
          std::to_string(head) + ", which has " +
          std::to_string(kind_.head_sizes[head]) + " choices, from 0.");
    }
  }
}

void EnvPool::Dispatch(int group, bool reset) {
  Group& target = GroupAt(group);
  const Position position = PositionOf(target.steps);
  target.sent = true;
  {
    const std::scoped_lock lock(mutex_);
    target.pending = static_cast<int>(target.workers.size());
    target.error = nullptr;
  }
  for (const int worker : target.workers) {
    try {
      workers_->Run(worker, [this, &target, worker, reset, position] {
        Work(target, worker, reset, position);
      });
    } catch (...) {  // for want of memory
      Finish(target, std::current_exception());
    }
  }
}

bool EnvPool::Recv(int group, std::chrono::milliseconds patience, Position* position) {
  Group& target = GroupAt(group);
  if (!target.sent) {
    throw std::logic_error("Nothing was sent to group " + std::to_string(group) +
                           "; call send or reset before recv.");
  }
  std::unique_lock lock(mutex_);
  if (!ready_.wait_for(lock, patience, [&] { return target.pending == 0; })) {
    lock.unlock();
    kind_.on_stall(Stall::kReceiving);
    return false;
  }
  target.sent = false;
  if (target.error) std::rethrow_exception(std::exchange(target.error, nullptr));
  target.ready_once = true;
  *position = PositionOf(target.steps);
  return true;
}

Position EnvPool::PositionOf(std::int64_t step) const {
  if (step == 0) return {0, 0};
  return {static_cast<int>((step - 1) / config_.num_steps % config_.num_slabs),
          static_cast<int>((step - 1) % config_.num_steps) + 1};
}

}  // namespace jaxfactory
