#include "doom_env.h"

#include <algorithm>
#include <string>
#include <utility>

namespace jaxfactory {
namespace {

constexpr int kMaxFailures = 3;
// A "map" command that has had no effect after so many tics is sent again.
constexpr int kMapCommandTics = 3;
// A level that has not begun so many tics after it should have never will.
constexpr unsigned kMaxMapTics = 350;

}  // namespace

DoomEnv::DoomEnv(const DoomConfig& config, std::uint32_t seed, int row)
    : config_(config), row_(row), game_seeds_(seed) {
  for (int i = 0; i < std::max(config.match.agents, 1); ++i) {
    players_.emplace_back(config);
  }
}

void DoomEnv::Seed(std::uint32_t seed) {
  game_seeds_.seed(seed);
  // In an engine that has played, not all is as in a new one: the status bar's face may
  // look elsewhere.
  restart_ = true;
}

void DoomEnv::BeginReset(std::span<const StepSlot> slots) {
  for (std::size_t i = 0; i < players_.size(); ++i) players_[i].set_slot(slots[i]);
  stepping_ = false;
  try {
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
  } catch (const EngineError& error) {
    Recover(error);
  }
}

void DoomEnv::BeginStep(const std::int32_t* actions, std::span<const StepSlot> slots) {
  for (std::size_t i = 0; i < players_.size(); ++i) players_[i].set_slot(slots[i]);
  stepping_ = true;
  ended_ = false;
  fresh_ = false;
  if (!running()) {
    // Its failure was reported, and the caller goes on all the same.
    Recover(EngineError("The Doom engine is gone."));
    return;
  }
  for (DoomPlayer& player : players_) {
    player.Press(actions);
    actions += config_.heads.size();
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
    if (!AllReplied()) return false;
    OnReply();
  } catch (const EngineError& error) {
    Recover(error);
  }
  return phase_ == Phase::kIdle;
}

bool DoomEnv::AllReplied() {
  for (; replied_ < players_.size(); ++replied_) {
    if (players_[replied_].engine().Poll()) continue;
    // It may wait for one that is gone.
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
      throw EngineError("The Doom engine answered an order that was not given.");
  }
}

void DoomEnv::Start() {
  End();
  // A game that failed before it opened an episode is started again with the same seed,
  // so that the failure leaves no trace in the rollout.
  if (!starting()) start_seed_ = game_seeds_();
  phase_ = Phase::kStarting;
  opening_tics_ = 0;
  if (players_.size() > 1) {
    for (std::size_t i = 0; i < players_.size(); ++i) {
      ports_.push_back(std::make_unique<UdpPort>());
    }
  }
  for (std::size_t i = 0; i < players_.size(); ++i) {
    players_[i].Start(start_seed_, Role(i));
  }
}

void DoomEnv::End() {
  for (DoomPlayer& player : players_) player.End();
  ports_.clear();
  replied_ = 0;
}

EngineRole DoomEnv::Role(std::size_t player) const {
  EngineRole role;
  role.arguments = Arguments(player);
  const std::vector<int>& cores = config_.match.cores;
  if (!cores.empty()) {
    role.core = cores[(static_cast<std::size_t>(row_) + player) % cores.size()];
  }
  if (!ports_.empty()) {
    // Its own first, then those of all that it may hear; see match_preload.cc.
    std::string ports = "JAXFACTORY_MATCH_PORTS=";
    ports += std::to_string(ports_[player]->number());
    for (const auto& port : ports_)
      ports.append(",").append(std::to_string(port->number()));
    role.environment.push_back(std::move(ports));
  }
  return role;
}

// What makes an engine the host or a guest of a match.
std::vector<std::string> DoomEnv::Arguments(std::size_t player) const {
  if (!match()) return {};
  std::vector<std::string> words;
  if (player == 0) {
    words = {"-host", std::to_string(players_.size())};
    if (!ports_.empty()) {
      words.insert(words.end(), {"-port", std::to_string(ports_[0]->number())});
    }
    words.insert(words.end(), config_.match.rules.begin(), config_.match.rules.end());
  } else {
    words = {"-join", "127.0.0.1:" + std::to_string(ports_[0]->number())};
  }
  if (!ports_.empty()) {
    // Every engine sends to every other: through the host, an order would take it two
    // tics to reach the others, which it does not get. And before the very first tic
    // guests wait in vain, for a second or as many milliseconds as are said.
    words.insert(words.end(), {"-netmode", "0", "+viz_sync_timeout", "10"});
  }
  words.insert(words.end(), {"+name", "Agent" + std::to_string(player + 1), "+colorset",
                             std::to_string(player % 8)});
  return words;
}

void DoomEnv::NewEpisode() {
  const std::string seed = std::to_string(game_seeds_());
  phase_ = Phase::kMapChange;
  if (match()) {
    SendCommand("rngseed set " + seed);
    players_[0].engine().SendCommand("changemap " + config_.map);
    for (DoomPlayer& player : players_) {
      player.ClearButtons();
      player.engine().input().available[protocol::kUseButton] = true;
    }
    HoldUse(false);
    HoldUse(true);
  } else {
    SendCommand("viz_set_seed " + seed);
    SendCommand("map " + config_.map);
    players_[0].ClearButtons();
  }
  restart_tics_ = 1;
  opening_tics_ = 0;
  SendOpeningTic();
}

void DoomEnv::OnMapTic() {
  if (!match() && restart_tics_ > kMapCommandTics) {
    SendCommand("map " + config_.map);
    restart_tics_ = 0;
  }
  const bool changing =
      std::any_of(players_.begin(), players_.end(), [&](const DoomPlayer& player) {
        return player.state().map_end || player.state().map_tic > last_tic_;
      });
  if (changing) {
    ++restart_tics_;
    // The table at a level's end waits for a key.
    if (match()) HoldUse(restart_tics_ % 2 == 1);
    SendOpeningTic();
    return;
  }
  if (match()) {
    HoldUse(false);
    const bool has_use = std::find(config_.buttons.begin(), config_.buttons.end(),
                                   protocol::kUseButton) != config_.buttons.end();
    for (DoomPlayer& player : players_) {
      player.engine().input().available[protocol::kUseButton] = has_use;
    }
  }
  phase_ = Phase::kMapTics;
  OnReply();
}

void DoomEnv::HoldUse(bool on) { SendCommand(on ? "+use" : "-use"); }

void DoomEnv::CallBots() {
  if (config_.match.bots == 0) return;
  DoomEngine& host = players_[0].engine();
  host.SendCommand("removebots");
  for (int i = 0; i < config_.match.bots; ++i) host.SendCommand("addbot");
}

void DoomEnv::Send(protocol::Code code) {
  for (DoomPlayer& player : players_) player.engine().Send(code);
}

void DoomEnv::SendCommand(const std::string& command) {
  for (DoomPlayer& player : players_) player.engine().SendCommand(command);
}

// For ever is not waited for a level that the engine says has not begun.
void DoomEnv::SendOpeningTic() {
  if (++opening_tics_ > kMaxMapTics + config_.start_time) {
    throw EngineError(match()
                          ? "The Doom engines do not begin the match's next episode."
                          : "The Doom engine does not begin the next episode.");
  }
  Send(protocol::kTic);
}

void DoomEnv::SendTic() {
  last_tic_ = state().map_tic + 1;
  --tics_left_;
  Send(tics_left_ == 0 ? protocol::kTicAndUpdate : protocol::kTic);
}

// A time-out is known beforehand and cuts the step as it does when each tic is waited
// for. A death or a map's end is not: the tics behind it are played, at most
// `frame_skip` - 1, and the step's reward, variables and final observation are theirs.
void DoomEnv::SendAllTics() {
  const unsigned tic = state().map_tic;
  const auto limit = [&](unsigned end) {
    if (end > tic && std::cmp_less(end - tic, tics_left_)) {
      tics_left_ = static_cast<int>(end - tic);
    }
  };
  if (config_.timeout > 0) limit(config_.timeout + config_.start_time);
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
    NewEpisode();
  } else {
    phase_ = Phase::kIdle;
  }
}

void DoomEnv::OpenEpisode() {
  last_tic_ = state().map_tic;
  fresh_ = true;
  for (DoomPlayer& player : players_) {
    player.OpenEpisode(last_tic_);
    if (!stepping_) player.FinishReset();
  }
  CallBots();
  phase_ = Phase::kIdle;
}

// An engine failed. The game's episode ends as truncated, with the observation before
// the failure as the final one, and other engines start.
void DoomEnv::Recover(const EngineError& error) {
  End();
  ++failures_;
  if (!config_.restart_failed || failures_ >= kMaxFailures) {
    phase_ = Phase::kIdle;
    throw error;
  }
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
      End();  // no engine of a match stays alone
      if (++failures_ < kMaxFailures) continue;
      phase_ = Phase::kIdle;
      throw;
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
  return (config_.timeout > 0 &&
          config_.timeout + config_.start_time <= state().map_tic) ||
         (state().map_tic_limit > 0 && state().map_tic_limit <= state().map_tic);
}

}  // namespace jaxfactory
