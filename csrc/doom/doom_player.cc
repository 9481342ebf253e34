#include "doom/doom_player.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "doom/engine/game_names.h"

namespace jaxfactory {
namespace {

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

DoomPlayer::DoomPlayer(const DoomConfig& config)
    : config_(config),
      resizers_(MakeResizers(config.frame)),
      game_reward_(config.reward),
      shaping_(config.shaping, config.held_weapon) {}

void DoomPlayer::Ready() {
  CheckScreen();
  protocol::InputState& input = engine_->input();
  ClearButtons();
  std::fill(std::begin(input.available), std::end(input.available), false);
  std::fill(std::begin(input.max_value), std::end(input.max_value), 0.0);
  for (const int button : config_.buttons) input.available[button] = true;
  for (const auto& [button, value] : config_.max_values) {
    const int delta = button - (protocol::kButtons - protocol::kDeltaButtons);
    // Only delta buttons have a limit; `DoomGame` also ignores one for other buttons.
    if (delta >= 0 && delta < protocol::kDeltaButtons) input.max_value[delta] = value;
  }
}

// The engine falls back to another resolution if it does not support this one.
void DoomPlayer::CheckScreen() const {
  const FrameSpec& frame = config_.frame;
  const auto pixels = static_cast<std::size_t>(frame.screen_width) *
                      static_cast<std::size_t>(frame.screen_height);
  // Later, the configuration alone determines how much of each buffer is read.
  const auto holds = [&](protocol::Region region, int channels) {
    return engine_->region_size(region) >= pixels * static_cast<std::size_t>(channels);
  };
  const bool fits =
      std::cmp_equal(state().screen_width, frame.screen_width) &&
      std::cmp_equal(state().screen_height, frame.screen_height) &&
      holds(protocol::kScreenRegion, frame.screen_channels) &&
      (!frame.depth || holds(protocol::kDepthRegion, 1)) &&
      (!frame.labels || holds(protocol::kLabelsRegion, 1)) &&
      (!frame.automap || holds(protocol::kAutomapRegion, frame.screen_channels));
  if (fits) return;
  throw EngineError(
      "The Doom engine renders " + std::to_string(state().screen_width) + "x" +
      std::to_string(state().screen_height) + " instead of " +
      std::to_string(frame.screen_width) + "x" + std::to_string(frame.screen_height) +
      ", or lacks a buffer that the configuration asks for; choose another screen "
      "size.");
}

void DoomPlayer::Press(const std::int32_t* action) {
  protocol::InputState& input = engine_->input();
  for (const int button : config_.buttons) input.buttons[button] = 0;
  for (std::size_t head = 0; head < config_.heads.size(); ++head) {
    for (const auto& [button, value] : config_.heads[head][action[head]]) {
      input.buttons[button] = value;
    }
  }
}

void DoomPlayer::ClearButtons() {
  std::fill(std::begin(engine_->input().buttons), std::end(engine_->input().buttons),
            0.0);
}

void DoomPlayer::OpenEpisode(unsigned tic) {
  reward_tic_ = tic;
  episode_tic_ = tic;
  game_reward_.Update(state(), 0, false);
  shaping_.Restart();
  if (config_.own_variable >= 0) {
    own_variable_ = ReadVariable(state(), config_.own_variable);
  }
  episode_shaped_return_ = 0;
  episode_raw_return_ = 0;
  frags_ = 0;
  place_ = Place();
  OpenObservation(slot_.obs);
  WriteMeasurements(slot_.measurements);
  *slot_.is_first = true;
}

void DoomPlayer::FinishReset() {
  *slot_.reward = 0;
  *slot_.raw_reward = 0;
  *slot_.terminated = false;
  *slot_.truncated = false;
  *slot_.restarted = false;
  *slot_.episode_shaped_return = 0;
  *slot_.episode_raw_return = 0;
  *slot_.episode_length = 0;
  *slot_.frags = frags_;
  *slot_.place = place_;
  WriteVariables();
}

void DoomPlayer::FinishStep(unsigned tic, bool terminated, bool truncated) {
  const bool last = terminated || truncated;
  const double game = game_reward_.Update(state(), static_cast<int>(tic - reward_tic_),
                                          state().map_end);
  reward_tic_ = tic;
  const double reward = (game + shaping_.Update(state(), last)) * config_.reward_scale;
  double own = game;
  if (config_.own_variable >= 0) {
    const double now = ReadVariable(state(), config_.own_variable);
    own = now - std::exchange(own_variable_, now);
  }
  episode_raw_return_ += own;
  episode_shaped_return_ += reward;

  *slot_.reward = static_cast<float>(Trained(reward, config_.trained));
  *slot_.raw_reward = own;
  *slot_.terminated = terminated;
  *slot_.truncated = truncated;
  *slot_.restarted = false;
  *slot_.episode_shaped_return = static_cast<float>(episode_shaped_return_);
  *slot_.episode_raw_return = static_cast<float>(episode_raw_return_);
  *slot_.episode_length = static_cast<std::int32_t>(tic - episode_tic_);
  frags_ = config_.match.agents > 0 ? state().player_frag_count : 0;
  place_ = Place();
  *slot_.frags = frags_;
  *slot_.place = place_;
  WriteVariables();
  if (last) {
    WriteObservation(slot_.final_obs);
    WriteMeasurements(slot_.final_measurements);
  } else {
    WriteObservation(slot_.obs);
    WriteMeasurements(slot_.measurements);
    *slot_.is_first = false;
  }
}

void DoomPlayer::Abandon() {
  *slot_.reward = 0;
  *slot_.raw_reward = 0;
  *slot_.terminated = false;
  *slot_.truncated = true;
  *slot_.episode_shaped_return = static_cast<float>(episode_shaped_return_);
  *slot_.episode_raw_return = static_cast<float>(episode_raw_return_);
  *slot_.episode_length = static_cast<std::int32_t>(reward_tic_ - episode_tic_);
  *slot_.frags = frags_;
  *slot_.place = place_;
  std::memcpy(slot_.final_obs, slot_.previous_obs, config_.frame.bytes());
  std::copy_n(slot_.previous_measurements, config_.measurements.size(),
              slot_.final_measurements);
  std::fill_n(slot_.game_variables, config_.variables.size(), 0.0);
}

// 1 for the player with the most frags; ties share the better place.
int DoomPlayer::Place() const {
  if (config_.match.agents == 0) return 0;
  int place = 1;
  for (int i = 0; i < protocol::kPlayers; ++i) {
    const bool ahead = state().players_in_game[i] &&
                       state().players_frag_count[i] > state().player_frag_count;
    if (ahead) ++place;
  }
  return place;
}

// The first image of an episode stands for those before it.
void DoomPlayer::OpenObservation(std::uint8_t* out) const {
  for (int i = 0; i < config_.frame.stack; ++i) {
    WriteImage(out + i * config_.frame.image_channels());
  }
}

void DoomPlayer::WriteObservation(std::uint8_t* out) const {
  const FrameSpec& frame = config_.frame;
  const int channels = frame.image_channels();
  if (frame.stack > 1) {
    // One copy moves every pixel's images a place back. What it leaves in the newest
    // image's place is the next pixel's and is overwritten.
    std::memcpy(out, slot_.previous_obs + channels, frame.bytes() - channels);
  }
  WriteImage(out + (frame.stack - 1) * channels);
}

// Writes the newest image; `out` is the first of its channels in the first pixel.
void DoomPlayer::WriteImage(std::uint8_t* out) const {
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

void DoomPlayer::WriteMeasurements(float* out) const {
  for (const Measurement& one : config_.measurements) {
    double value = 0;
    if (one.variable >= 0) value = ReadVariable(state(), one.variable);
    if (one.not_negative) value = std::max(value, 0.0);
    value /= one.divisor;
    if (one.cap > 0) value = std::min(value, one.cap);
    *out++ = static_cast<float>(value);
  }
}

void DoomPlayer::WriteVariables() const {
  for (std::size_t i = 0; i < config_.variables.size(); ++i) {
    slot_.game_variables[i] = ReadVariable(state(), config_.variables[i]);
  }
}

}  // namespace jaxfactory
