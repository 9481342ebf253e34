// How the workers of a pool advance the environments of a group.
#include <algorithm>
#include <utility>

#include "pool/env_pool.h"

namespace jaxfactory {
namespace {

// Engines of a worker that run at the same time: each finishes its whole step before
// another begins, so that fewer push each other out of the caches.
constexpr int kEnginesAtOnce = 2;
// Environments of a worker that are reset at the same time. Engines may have to start,
// and until they have, their names are in /dev/shm.
constexpr std::size_t kResetsAtOnce = 4;

}  // namespace

void EnvPool::Work(Group& group, int worker, bool reset, Position position) {
  std::exception_ptr error;
  try {
    error = Advance(group, worker, reset, position);
  } catch (...) {
    error = std::current_exception();
  }
  Finish(group, std::move(error));
}

// Returns the first error of one of the worker's environments.
std::exception_ptr EnvPool::Advance(Group& group, int worker, bool reset,
                                    Position position) {
  const std::vector<int>& envs = group.envs_of_worker[static_cast<std::size_t>(worker)];
  std::exception_ptr error;
  std::vector<Env*> active;
  active.reserve(envs.size());
  // Catches every exception, so that the other environments are finished.
  const auto guarded = [&error](auto&& action) {
    try {
      return action();
    } catch (...) {
      if (!error) error = std::current_exception();
      return true;  // this step is finished
    }
  };
  const int first_row = static_cast<int>(&group - groups_.data()) * group_size();
  std::vector<StepSlot> slots(static_cast<std::size_t>(config_.rows_per_env));
  // Starts the reset or the step of an environment; returns whether it runs now.
  const auto begin = [&](int first) {
    Env& env = *envs_[static_cast<std::size_t>(first / config_.rows_per_env)];
    for (int i = 0; i < config_.rows_per_env; ++i) {
      slots[static_cast<std::size_t>(i)] = arrays_.SlotOf(first + i, position);
      if (position.slot == 1 && group.steps > 1) {
        arrays_.CopyLastObservation(first + i, position.slab);
      }
    }
    const std::int32_t* actions =
        group.actions.data() +
        static_cast<std::size_t>(first - first_row) * kind_.head_sizes.size();
    return !guarded([&] {
      if (reset) {
        env.BeginReset(slots);
      } else {
        env.BeginStep(actions, slots);
      }
      return false;
    });
  };
  const std::size_t most = reset ? kResetsAtOnce
                                 : static_cast<std::size_t>(std::max(
                                       1, kEnginesAtOnce / config_.rows_per_env));
  std::size_t next = 0;
  // Where an engine cannot start, the others are not waited for in vain as well.
  const auto more = [&] { return next < envs.size() && !(reset && error); };
  while ((more() || !active.empty()) && !workers_->stopping()) {
    while (more() && active.size() < most) {
      const int first = envs[next++];
      if (begin(first)) {
        active.push_back(
            envs_[static_cast<std::size_t>(first / config_.rows_per_env)].get());
      }
    }
    // Wait first for the environment that received its request last: when it is done,
    // the others on this core are too, so the worker wakes once per round and not once
    // per environment.
    std::reverse(active.begin(), active.end());
    std::erase_if(active,
                  [&](Env* env) { return guarded([&] { return env->Advance(); }); });
  }
  return error;
}

// A worker is done with a group.
void EnvPool::Finish(Group& group, std::exception_ptr error) {
  bool last = false;
  {
    const std::scoped_lock lock(mutex_);
    // Moved: the receiver is its last user.
    if (error && !group.error) group.error = std::move(error);
    last = --group.pending == 0;
  }
  // Only when all are done: waking the caller earlier would take a core from an
  // environment.
  if (last) ready_.notify_all();
}

}  // namespace jaxfactory
