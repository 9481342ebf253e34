// One agent in an environment: its engine, its rewards and its results.
#ifndef JAXFACTORY_DOOM_DOOM_PLAYER_H_
#define JAXFACTORY_DOOM_DOOM_PLAYER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "doom/config.h"
#include "doom/doom_fields.h"
#include "doom/doom_reward.h"
#include "doom/engine/doom_engine.h"
#include "doom/frame.h"

namespace jaxfactory {

class DoomPlayer {
 public:
  // `config` must outlive the player.
  explicit DoomPlayer(const DoomConfig& config);

  // Ends the current engine, if there is one, and plays with another.
  void Take(std::unique_ptr<DoomEngine> engine) { engine_ = std::move(engine); }
  void End() { engine_.reset(); }
  // Call once the engine has started: checks its output, and enables the buttons.
  void Ready();
  DoomEngine& engine() { return *engine_; }
  const DoomEngine& engine() const { return *engine_; }
  const protocol::GameState& state() const { return engine_->state(); }
  bool running() const { return engine_ != nullptr; }

  void set_slot(const StepSlot& slot) { slot_ = DoomSlot(slot); }
  // Presses the buttons of an action, one index for each head.
  void Press(const std::int32_t* action);
  void ClearButtons();

  // Writes the first observation of an episode that opens at `tic`.
  void OpenEpisode(unsigned tic);
  // Writes a reset's results other than the observation.
  void FinishReset();
  // Writes the results of the step that ends at `tic`, and its observation: the final
  // one if the episode ends with it.
  void FinishStep(unsigned tic, bool terminated, bool truncated);
  // Ends the episode in the state before a step that failed.
  void Abandon();
  void MarkRestarted() { *slot_.restarted = true; }
  // See `ShapingReward::Weigh`; call it only between steps.
  void WeighShaping(std::span<const double> weights) { shaping_.Weigh(weights); }

 private:
  void CheckScreen() const;
  int Place() const;
  void OpenObservation(std::uint8_t* out) const;
  void WriteObservation(std::uint8_t* out) const;
  void WriteImage(std::uint8_t* out) const;
  void WriteMeasurements(float* out) const;
  void WriteVariables() const;

  const DoomConfig& config_;
  std::vector<Resizer> resizers_;
  std::unique_ptr<DoomEngine> engine_;
  RawReward game_reward_;
  ShapingReward shaping_;
  DoomSlot slot_;
  unsigned reward_tic_ = 0;   // the living reward is counted up to here
  unsigned episode_tic_ = 0;  // when the episode started
  double own_variable_ = 0;
  double episode_shaped_return_ = 0;
  double episode_raw_return_ = 0;
  int frags_ = 0, place_ = 0;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_DOOM_PLAYER_H_
