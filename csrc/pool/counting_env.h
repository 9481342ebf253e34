// A deterministic environment without an engine, for tests and for benchmarks of the
// pool's overhead.
#ifndef JAXFACTORY_POOL_COUNTING_ENV_H_
#define JAXFACTORY_POOL_COUNTING_ENV_H_

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

#include "pool/env.h"
#include "pool/env_error.h"
#include "pool/env_pool.h"

namespace jaxfactory {

struct CountingConfig {
  std::size_t obs_bytes = 16;
  int episode_length = 10;  // steps; every third episode is truncated, not terminated
  int fail_at = 0;          // the step that throws, 0 for none
};

// The observation is filled with the step's number plus the seed, modulo 251; the
// reward is the number of the step plus the action.
class CountingEnv final : public Env {
 public:
  CountingEnv(const CountingConfig& config, std::uint32_t seed)
      : config_(config), seed_(seed) {}

  void Seed(std::uint32_t seed) override {
    seed_ = seed;
    total_ = 0;
    episode_ = 0;
  }

  void BeginReset(std::span<const StepSlot> slots) override {
    slot_ = slots[0];
    Write(0, false);
    Open();
  }

  void BeginStep(const std::int32_t* action, std::span<const StepSlot> slots) override {
    slot_ = slots[0];
    ++step_;
    ++total_;
    if (total_ == config_.fail_at) {
      throw EnvError("The counting environment fails at step " +
                     std::to_string(total_) + ".");
    }
    const double reward = step_ + action[0];
    episode_shaped_return_ += reward;
    const bool last = step_ == config_.episode_length;
    Write(reward, last);
    if (last) {
      std::memset(slot_.final_obs, Pattern(), config_.obs_bytes);
      ++episode_;
      Open();
    } else {
      std::memset(slot_.obs, Pattern(), config_.obs_bytes);
      *slot_.is_first = false;
    }
  }

  bool Advance() override { return true; }

 private:
  int Pattern() const {
    return static_cast<int>((static_cast<unsigned>(total_) + seed_) % 251);
  }

  void Open() {
    step_ = 0;
    episode_shaped_return_ = 0;
    std::memset(slot_.obs, Pattern(), config_.obs_bytes);
    *slot_.is_first = true;
  }

  void Write(double reward, bool last) {
    const bool cut = episode_ % 3 == 2;
    *slot_.reward = static_cast<float>(reward);
    *slot_.raw_reward = reward;
    *slot_.terminated = last && !cut;
    *slot_.truncated = last && cut;
    *slot_.restarted = false;
    *slot_.episode_shaped_return = static_cast<float>(episode_shaped_return_);
    *slot_.episode_raw_return = static_cast<float>(episode_shaped_return_);
    *slot_.episode_length = step_;
  }

  CountingConfig config_;
  std::uint32_t seed_;
  StepSlot slot_;
  int step_ = 0, total_ = 0, episode_ = 0;
  double episode_shaped_return_ = 0;
};

inline EnvKind CountingKind(const CountingConfig& config) {
  return {.sizes = {config.obs_bytes, 0},
          .head_sizes = {2},
          .make = [config](int, std::uint32_t seed) {
            return std::make_unique<CountingEnv>(config, seed);
          }};
}

}  // namespace jaxfactory

#endif  // JAXFACTORY_POOL_COUNTING_ENV_H_
