#include "doom_env.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "game_names.h"

namespace jaxfactory {
namespace {

constexpr int kMaxFailures = 3;
// A "map" command that has had no effect after so many tics is sent again.
constexpr int kMapCommandTics = 3;

std::vector<Resizer> MakeResizers(const FrameSpec& frame) {
  std::vector<Resizer> resizers;
  const auto add = [&](int channels) {
    resizers.emplace_back(frame.screen_width, frame.screen_height, frame.width,
                          frame.height, channels, frame.channels());
  };
  add(frame.screen_channels);
  if (frame.depth) add(1);
  if (frame.labels) add(1);
  if (frame.automap) add(frame.screen_channels);
  return resizers;
}

}  // namespace

DoomEnv::DoomEnv(const DoomConfig& config, std::uint32_t seed)
    : config_(config),
      resizers_(MakeResizers(config.frame)),
      game_seeds_(seed),
      own_reward_(config.reward),
      shaping_(config.shaping, config.held_weapon) {}

void DoomEnv::BeginReset(const StepSlot& slot) {
  slot_ = slot;
  stepping_ = false;
  try {
    if (!engine_) {
      Start();
    } else if (fresh_) {
      // A new episode is open already, and nothing has happened in it.
      phase_ = Phase::kMapUpdate;
      engine_->Send(protocol::kUpdate);
    } else {
      NewEpisode();
    }
  } catch (const EngineError& error) {
    Recover(error);
  }
}

void DoomEnv::BeginStep(const std::int32_t* action, const StepSlot& slot) {
  slot_ = slot;
  stepping_ = true;
  ended_ = false;
  fresh_ = false;
  if (!engine_) {
    // Its failure was reported, and the caller goes on all the same.
    Recover(EngineError("The Doom engine is gone."));
    return;
  }
  protocol::InputState& input = engine_->input();
  for (const int button : config_.buttons) input.buttons[button] = 0;
  for (std::size_t head = 0; head < config_.heads.size(); ++head) {
    for (const auto& [button, value] : config_.heads[head][action[head]]) {
      input.buttons[button] = value;
    }
  }
  tics_left_ = config_.frame_skip;
  try {
    if (config_.queued_tics) {
      SendAllTics();
    } else {
      phase_ = Phase::kTic;
      SendTic();
    }
  } catch (const EngineError& error) {
    Recover(error);
  }
}

bool DoomEnv::Advance() {
  try {
    if (!engine_->Poll()) return false;
    OnReply();
  } catch (const EngineError& error) {
    Recover(error);
  }
  return phase_ == Phase::kIdle;
}

void DoomEnv::OnReply() {
  switch (phase_) {
    case Phase::kStarting:
      phase_ = Phase::kStartTics;
      [[fallthrough]];
    case Phase::kStartTics:
      if (engine_->state().map_tic < config_.start_time) {
        engine_->Send(protocol::kTic);
      } else {
        phase_ = Phase::kStartUpdate;
        engine_->Send(protocol::kUpdate);
      }
      break;
    case Phase::kStartUpdate: {
      CheckScreen();
      protocol::InputState& input = engine_->input();
      ClearButtons();
      std::fill(std::begin(input.available), std::end(input.available), false);
      std::fill(std::begin(input.max_value), std::end(input.max_value), 0.0);
      for (const int button : config_.buttons) input.available[button] = true;
      for (const auto& [button, value] : config_.max_values) {
        input.max_value[button - (protocol::kButtons - protocol::kDeltaButtons)] =
            value;
      }
      OpenEpisode();
      break;
    }
    case Phase::kTic:
      AfterTic();
      break;
    case Phase::kQueuedTics:
      // The state is read when the last is done: until then the engine writes it.
      if (--tics_left_ == 0) FinishStep();
      break;
    case Phase::kEarlyEnd:
      FinishStep();
      break;
    case Phase::kMapChange:
      OnMapTic();
      break;
    case Phase::kMapTics:
      if (engine_->state().map_tic < config_.start_time) {
        engine_->Send(protocol::kTic);
      } else {
        engine_->SendCommand("viz_override_player 0");
        phase_ = Phase::kMapUpdate;
        engine_->Send(protocol::kUpdate);
      }
      break;
    case Phase::kMapUpdate:
      OpenEpisode();
      break;
    case Phase::kIdle:
      throw EngineError("The Doom engine answered an order that was not given.");
  }
}

void DoomEnv::Start() {
  engine_.reset();
  // An engine that failed before it opened an episode is started again with the same
  // seed, so that the failure leaves no trace in the rollout.
  if (!starting()) start_seed_ = game_seeds_();
  phase_ = Phase::kStarting;
  engine_ = std::make_unique<DoomEngine>(config_.engine, start_seed_);
}

void DoomEnv::NewEpisode() {
  engine_->SendCommand("viz_set_seed " + std::to_string(game_seeds_()));
  engine_->SendCommand("map " + config_.map);
  ClearButtons();
  restart_tics_ = 1;
  phase_ = Phase::kMapChange;
  engine_->Send(protocol::kTic);
}

void DoomEnv::OnMapTic() {
  const protocol::GameState& state = engine_->state();
  if (restart_tics_ > kMapCommandTics) {
    engine_->SendCommand("map " + config_.map);
    restart_tics_ = 0;
  }
  if (state.map_end || state.map_tic > last_tic_) {
    ++restart_tics_;
    engine_->Send(protocol::kTic);
    return;
  }
  phase_ = Phase::kMapTics;
  OnReply();
}

// The engine falls back to another resolution where it does not know the wanted one.
void DoomEnv::CheckScreen() const {
  const protocol::GameState& state = engine_->state();
  const FrameSpec& frame = config_.frame;
  const auto pixels = static_cast<std::size_t>(frame.screen_width) *
                      static_cast<std::size_t>(frame.screen_height);
  const bool fits = std::cmp_equal(state.screen_width, frame.screen_width) &&
                    std::cmp_equal(state.screen_height, frame.screen_height) &&
                    state.region_size[protocol::kScreenRegion] >=
                        pixels * static_cast<std::size_t>(frame.screen_channels) &&
                    state.depth_buffer >= frame.depth &&
                    state.labels_buffer >= frame.labels &&
                    state.automap_buffer >= frame.automap;
  if (fits) return;
  throw EngineError("The Doom engine renders " + std::to_string(state.screen_width) +
                    "x" + std::to_string(state.screen_height) + " instead of " +
                    std::to_string(frame.screen_width) + "x" +
                    std::to_string(frame.screen_height) +
                    ", or lacks a buffer that was asked for; choose another screen "
                    "size.");
}

void DoomEnv::SendTic() {
  last_tic_ = engine_->state().map_tic + 1;
  --tics_left_;
  engine_->Send(tics_left_ == 0 ? protocol::kTicAndUpdate : protocol::kTic);
}

// A time-out is known beforehand and cuts the step as it does when each tic is waited
// for. A death or a map's end is not: the tics behind it are played, at most
// `frame_skip` - 1, and the step's reward, variables and final observation are theirs.
void DoomEnv::SendAllTics() {
  const unsigned tic = engine_->state().map_tic;
  const auto limit = [&](unsigned end) {
    if (end > tic) tics_left_ = std::min(tics_left_, static_cast<int>(end - tic));
  };
  if (config_.timeout > 0) limit(config_.timeout + config_.start_time);
  if (engine_->state().map_tic_limit > 0) limit(engine_->state().map_tic_limit);
  last_tic_ = tic + static_cast<unsigned>(tics_left_);
  phase_ = Phase::kQueuedTics;
  for (int i = 1; i < tics_left_; ++i) engine_->Send(protocol::kTic);
  engine_->Send(protocol::kTicAndUpdate);
}

void DoomEnv::AfterTic() {
  if (tics_left_ == 0) {
    FinishStep();
  } else if (terminal() || timed_out()) {
    phase_ = Phase::kEarlyEnd;
    engine_->Send(protocol::kUpdate);
  } else {
    SendTic();
  }
}

void DoomEnv::FinishStep() {
  const protocol::GameState& state = engine_->state();
  const bool terminated = terminal();
  const bool truncated = !terminated && timed_out();
  const bool last = terminated || truncated;
  const double own = own_reward_.Update(
      state, static_cast<int>(last_tic_ - reward_tic_), state.map_end);
  reward_tic_ = last_tic_;
  const double reward = (own + shaping_.Update(state, last)) * config_.reward_scale;
  episode_own_return_ += own;
  episode_return_ += reward;

  *slot_.reward = static_cast<float>(reward);
  *slot_.own_reward = own;
  *slot_.terminated = terminated ? 1 : 0;
  *slot_.truncated = truncated ? 1 : 0;
  *slot_.restarted = 0;
  *slot_.episode_return = static_cast<float>(episode_return_);
  *slot_.episode_own_return = static_cast<float>(episode_own_return_);
  *slot_.episode_length = static_cast<std::int32_t>(last_tic_ - episode_tic_);
  WriteVariables();
  failures_ = 0;
  if (last) {
    ended_ = true;
    WriteObservation(slot_.final_obs);
    WriteMeasurements(slot_.final_measurements);
    NewEpisode();
  } else {
    WriteObservation(slot_.obs);
    WriteMeasurements(slot_.measurements);
    *slot_.is_first = 0;
    phase_ = Phase::kIdle;
  }
}

void DoomEnv::OpenEpisode() {
  last_tic_ = engine_->state().map_tic;
  reward_tic_ = last_tic_;
  episode_tic_ = last_tic_;
  own_reward_.Update(engine_->state(), 0, false);
  shaping_.Restart();
  episode_return_ = 0;
  episode_own_return_ = 0;
  fresh_ = true;
  WriteObservation(slot_.obs);
  WriteMeasurements(slot_.measurements);
  *slot_.is_first = 1;
  if (!stepping_) FinishReset();
  phase_ = Phase::kIdle;
}

void DoomEnv::FinishReset() {
  *slot_.reward = 0;
  *slot_.own_reward = 0;
  *slot_.terminated = 0;
  *slot_.truncated = 0;
  *slot_.restarted = 0;
  *slot_.episode_return = 0;
  *slot_.episode_own_return = 0;
  *slot_.episode_length = 0;
  WriteVariables();
}

// The engine failed. Its episode ends as truncated, with the observation before the
// failure as the final one, and another engine starts.
void DoomEnv::Recover(const EngineError& error) {
  engine_.reset();
  ++failures_;
  if (!config_.restart_failed || failures_ >= kMaxFailures) {
    phase_ = Phase::kIdle;
    throw error;
  }
  if (stepping_) *slot_.restarted = 1;
  if (stepping_ && !ended_) {
    ended_ = true;
    *slot_.reward = 0;
    *slot_.own_reward = 0;
    *slot_.terminated = 0;
    *slot_.truncated = 1;
    *slot_.episode_return = static_cast<float>(episode_return_);
    *slot_.episode_own_return = static_cast<float>(episode_own_return_);
    *slot_.episode_length = static_cast<std::int32_t>(reward_tic_ - episode_tic_);
    std::memcpy(slot_.final_obs, slot_.previous_obs, config_.frame.bytes());
    std::copy_n(slot_.previous_measurements, config_.measurements.size(),
                slot_.final_measurements);
    std::fill_n(slot_.variables, config_.variables.size(), 0.0);
  }
  Start();
}

bool DoomEnv::starting() const {
  return phase_ == Phase::kStarting || phase_ == Phase::kStartTics ||
         phase_ == Phase::kStartUpdate;
}

bool DoomEnv::terminal() const {
  const protocol::GameState& state = engine_->state();
  return (!state.multiplayer && state.player_dead) || state.map_end;
}

bool DoomEnv::timed_out() const {
  const protocol::GameState& state = engine_->state();
  return (config_.timeout > 0 &&
          config_.timeout + config_.start_time <= state.map_tic) ||
         (state.map_tic_limit > 0 && state.map_tic_limit <= state.map_tic);
}

void DoomEnv::WriteObservation(std::uint8_t* out) const {
  std::size_t next = 0;
  const auto write = [&](protocol::Region region, int channels) {
    resizers_[next++](engine_->region(region), out);
    out += channels;
  };
  write(protocol::kScreenRegion, config_.frame.screen_channels);
  if (config_.frame.depth) write(protocol::kDepthRegion, 1);
  if (config_.frame.labels) write(protocol::kLabelsRegion, 1);
  if (config_.frame.automap) {
    write(protocol::kAutomapRegion, config_.frame.screen_channels);
  }
}

void DoomEnv::WriteMeasurements(float* out) const {
  for (const Measurement& one : config_.measurements) {
    double value = 0;
    if (one.variable >= 0) value = ReadVariable(engine_->state(), one.variable);
    if (one.not_negative) value = std::max(value, 0.0);
    value /= one.divisor;
    if (one.cap > 0) value = std::min(value, one.cap);
    *out++ = static_cast<float>(value);
  }
}

void DoomEnv::WriteVariables() const {
  for (std::size_t i = 0; i < config_.variables.size(); ++i) {
    slot_.variables[i] = ReadVariable(engine_->state(), config_.variables[i]);
  }
}

void DoomEnv::ClearButtons() {
  std::fill(std::begin(engine_->input().buttons), std::end(engine_->input().buttons),
            0.0);
}

}  // namespace jaxfactory
