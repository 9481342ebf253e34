#include "doom/doom_env.h"

#include <algorithm>
#include <string>
#include <utility>

namespace jaxfactory {
namespace {

// Engines that are started in a row in place of one that failed.
constexpr int kMaxRestarts = 3;

// Of an environment's first episode, in tics; 0 for none.
unsigned FirstTimeLimit(const DoomConfig& config, std::uint32_t seed) {
  if (config.stagger == 0) return config.timeout;
  std::mt19937 random(~seed);  // not the generator of the games' seeds
  const auto limit = 1 + static_cast<unsigned>(random() % config.stagger);
  return config.timeout > 0 ? std::min(limit, config.timeout) : limit;
}

}  // namespace

DoomEnv::DoomEnv(const DoomConfig& config, std::uint32_t seed, int row,
                 std::shared_ptr<ForkServer> server)
    : config_(config),
      row_(row),
      server_(std::move(server)),
      game_seeds_(seed),
      files_(StampFiles(config.engine.arguments)),
      time_limit_(FirstTimeLimit(config, seed)) {
  for (int i = 0; i < std::max(config.match.agents, 1); ++i) {
    players_.emplace_back(config);
  }
}

void DoomEnv::Seed(std::uint32_t seed) {
  game_seeds_.seed(seed);
  // A used engine differs from a new one, for instance in the status bar's face.
  // Only a new engine makes the episodes reproducible.
  restart_ = true;
}

void DoomEnv::BeginReset(std::span<const StepSlot> slots) {
  for (std::size_t i = 0; i < players_.size(); ++i) players_[i].set_slot(slots[i]);
  stepping_ = false;
  Guarded([&] {
    if (!running() || restart_) {
      restart_ = false;
      Start();
    } else if (fresh_) {
      // A new episode is open already, and nothing has happened in it.
      phase_ = Phase::kMapUpdate;
      Send(protocol::kUpdate);
    } else {
      NewEpisode();
    }
  });
}

template <typename Part>
void DoomEnv::Guarded(Part&& part) {
  try {
    try {
      part();
    } catch (const EngineError& error) {
      Recover(error);
    }
  } catch (...) {
    // Also after another error, for want of memory: no engine is left half started.
    End();
    phase_ = Phase::kIdle;
    throw;
  }
}

void DoomEnv::BeginStep(const std::int32_t* actions, std::span<const StepSlot> slots) {
  for (std::size_t i = 0; i < players_.size(); ++i) players_[i].set_slot(slots[i]);
  stepping_ = true;
  ended_ = false;
  fresh_ = false;
  Guarded([&] {
    // If not, the failure was reported, and the caller continues to step.
    if (!running()) throw EngineError("The Doom engine is not running.");
    LookForSuccessors();
    for (DoomPlayer& player : players_) {
      player.Press(actions);
      actions += config_.heads.size();
    }
    tics_left_ = config_.frame_skip;
    if (config_.queued_tics) {
      SendAllTics();
    } else {
      phase_ = Phase::kTic;
      SendTic();
    }
  });
}

bool DoomEnv::Advance() {
  Guarded([&] {
    if (phase_ == Phase::kSuccession) {
      AwaitSuccessors();
    } else if (AllReplied()) {
      OnReply();
    }
  });
  return phase_ == Phase::kIdle;
}

bool DoomEnv::AllReplied() {
  for (; replied_ < players_.size(); ++replied_) {
    if (players_[replied_].engine().Poll()) continue;
    // It may be waiting for an engine that is gone.
    for (std::size_t i = replied_ + 1; i < players_.size(); ++i) {
      players_[i].engine().CheckAlive();
    }
    return false;
  }
  replied_ = 0;
  return true;
}

void DoomEnv::OnReply() {
  switch (phase_) {
    case Phase::kStarting:
      phase_ = Phase::kStartTics;
      [[fallthrough]];
    case Phase::kStartTics:
      if (state().map_tic < config_.start_time) {
        SendOpeningTic();
      } else {
        phase_ = Phase::kStartUpdate;
        Send(protocol::kUpdate);
      }
      break;
    case Phase::kStartUpdate:
      for (DoomPlayer& player : players_) player.Ready();
      OpenEpisode();
      break;
    case Phase::kTic:
      AfterTic();
      break;
    case Phase::kQueuedTics:
      // The state is read after the last tic: until then the engine writes it.
      if (--tics_left_ == 0) FinishStep();
      break;
    case Phase::kEarlyEnd:
      FinishStep();
      break;
    case Phase::kMapChange:
      OnMapTic();
      break;
    case Phase::kMapTics:
      if (state().map_tic < config_.start_time) {
        SendOpeningTic();
      } else {
        SendCommand("viz_override_player 0");
        phase_ = Phase::kMapUpdate;
        Send(protocol::kUpdate);
      }
      break;
    case Phase::kMapUpdate:
      OpenEpisode();
      break;
    case Phase::kIdle:
    case Phase::kSuccession:
      throw EngineError("The Doom engine answered a request that was not sent.");
  }
}

void DoomEnv::Send(protocol::Code code) {
  for (DoomPlayer& player : players_) player.engine().Send(code);
}

void DoomEnv::SendCommand(const std::string& command) {
  for (DoomPlayer& player : players_) player.engine().SendCommand(command);
}

void DoomEnv::SendTic() {
  last_tic_ = state().map_tic + 1;
  --tics_left_;
  Send(tics_left_ == 0 ? protocol::kTicAndUpdate : protocol::kTic);
}

// A time-out is known in advance and shortens the step, as it does with exact tics. A
// death or a map's end is not: the remaining tics still run, at most `frame_skip` - 1,
// and the step's reward, variables and final observation are those after them.
void DoomEnv::SendAllTics() {
  const unsigned tic = state().map_tic;
  const auto limit = [&](unsigned end) {
    if (end > tic && std::cmp_less(end - tic, tics_left_)) {
      tics_left_ = static_cast<int>(end - tic);
    }
  };
  if (time_limit_ > 0) limit(time_limit_ + config_.start_time);
  if (state().map_tic_limit > 0) limit(state().map_tic_limit);
  last_tic_ = tic + static_cast<unsigned>(tics_left_);
  phase_ = Phase::kQueuedTics;
  for (int i = 1; i < tics_left_; ++i) Send(protocol::kTic);
  Send(protocol::kTicAndUpdate);
}

void DoomEnv::AfterTic() {
  if (tics_left_ == 0) {
    FinishStep();
  } else if (terminal() || timed_out()) {
    phase_ = Phase::kEarlyEnd;
    Send(protocol::kUpdate);
  } else {
    SendTic();
  }
}

void DoomEnv::FinishStep() {
  const bool terminated = terminal();
  const bool truncated = !terminated && timed_out();
  for (DoomPlayer& player : players_) {
    player.FinishStep(last_tic_, terminated, truncated);
  }
  failures_ = 0;
  if (terminated || truncated) {
    ended_ = true;
    age_ += last_tic_;  // and not by steps: a replay has more of them
    time_limit_ = config_.timeout;
    OpenNextEpisode();
  } else {
    phase_ = Phase::kIdle;
  }
}

// An engine failed. The episode ends as truncated, with the observation before
// the failure as the final one, and other engines start.
void DoomEnv::Recover(const EngineError& error) {
  End();
  ++failures_;
  if (!config_.restart_failed || failures_ > kMaxRestarts) throw error;
  for (DoomPlayer& player : players_) {
    if (stepping_ && !ended_) player.Abandon();
    if (stepping_) player.MarkRestarted();
  }
  if (stepping_) ended_ = true;
  while (true) {
    try {
      Start();
      return;
    } catch (const EngineError&) {
      End();  // the engines of a match restart together
      if (++failures_ > kMaxRestarts) throw;
    }
  }
}

bool DoomEnv::running() const {
  return std::all_of(players_.begin(), players_.end(),
                     [](const DoomPlayer& player) { return player.running(); });
}

int DoomEnv::pid(int row) const {
  const DoomPlayer& player = players_[static_cast<std::size_t>(row)];
  return player.running() ? player.engine().pid() : 0;
}

bool DoomEnv::tuned(int row) const {
  const DoomPlayer& player = players_[static_cast<std::size_t>(row)];
  return player.running() && player.engine().tuned();
}

bool DoomEnv::starting() const {
  return phase_ == Phase::kStarting || phase_ == Phase::kStartTics ||
         phase_ == Phase::kStartUpdate;
}

bool DoomEnv::terminal() const {
  return (!state().multiplayer && state().player_dead) || state().map_end;
}

bool DoomEnv::timed_out() const {
  return (time_limit_ > 0 && time_limit_ + config_.start_time <= state().map_tic) ||
         (state().map_tic_limit > 0 && state().map_tic_limit <= state().map_tic);
}

}  // namespace jaxfactory
