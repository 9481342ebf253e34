// How DoomEnv starts engines and opens episodes.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "doom/doom_env.h"

namespace jaxfactory {
namespace {

// Tics after which a "map" command that has had no effect is sent again.
constexpr int kMapCommandTics = 3;
// Tics after which a level that has not started is given up.
constexpr unsigned kMaxMapTics = 350;

}  // namespace

void DoomEnv::Start() {
  End();
  // If engines failed before an episode opened, new ones start with the same seed,
  // so that the failure leaves no trace in the rollout.
  if (!starting()) start_seed_ = game_seeds_();
  phase_ = Phase::kStarting;
  Take(StartEngines(config_, start_seed_, row_, server_.get()));
}

void DoomEnv::Take(EngineSet engines) {
  phase_ = Phase::kStarting;
  start_seed_ = engines.seed;
  age_ = opening_tics_ = 0;
  replied_ = 0;
  for (std::size_t i = 0; i < players_.size(); ++i) {
    players_[i].Take(std::move(engines.engines[i]));
  }
  ports_ = std::move(engines.ports);
}

void DoomEnv::End() {
  for (DoomPlayer& player : players_) player.End();
  successors_.End();
  ports_.clear();
  replied_ = 0;
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
    // The score table at the end of a level waits for a key.
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

// Bounds the wait for a level that the engine reports as not started.
void DoomEnv::SendOpeningTic() {
  if (++opening_tics_ > kMaxMapTics + config_.start_time) {
    throw EngineError(match()
                          ? "The Doom engines did not start the match's next episode."
                          : "The Doom engine did not start the next episode.");
  }
  Send(protocol::kTic);
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

}  // namespace jaxfactory
