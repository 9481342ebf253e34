// Rewards from the engine's shared state: the raw reward and the shaping.
#ifndef JAXFACTORY_DOOM_DOOM_REWARD_H_
#define JAXFACTORY_DOOM_DOOM_REWARD_H_

#include <span>
#include <vector>

#include "doom/config.h"
#include "doom/engine/engine_protocol.h"

namespace jaxfactory {

// Computes `DoomGame::getLastReward` with the same order of floating-point operations,
// so that the two are equal to the last bit.
class RawReward {
 public:
  explicit RawReward(const GameReward& weights) : weights_(weights) {}

  // The reward since the last call. `tics` is the time that passed, `ended` whether the
  // map or the player's life has ended. Called once when an episode opens, for the
  // values that changes are counted from.
  double Update(const protocol::GameState& state, int tics, bool ended);

 private:
  GameReward weights_;
  double map_reward_ = 0;
  int kills_ = 0, secrets_ = 0, items_ = 0, frags_ = 0, hits_ = 0, hits_taken_ = 0,
      health_ = 0, armor_ = 0;
  double damage_ = 0, damage_taken_ = 0;
};

// Scales a reward, then limits its absolute value.
double Trained(double reward, const TrainedReward& rule);

// Rewards for changes of game variables between two decisions, and for keeping a
// weapon. Zero on an episode's first decision (there is nothing to compare with), on
// its last, and on the one after which a dead player has respawned. Counters
// that continue across episodes need no special case: only changes within an episode
// count.
class ShapingReward {
 public:
  ShapingReward(const std::vector<ShapingTerm>& terms, const HeldWeapon& held)
      : terms_(terms),
        held_(held),
        last_(terms.size()),
        weights_(terms.size() + 1, 1.0) {}

  // Multiplies the terms by factors, in their order, and the held weapon's reward by
  // the last one. Throws std::invalid_argument if their number is wrong.
  void Weigh(std::span<const double> weights);

  void Restart() {
    first_ = true;
    held_decisions_ = 0;
  }
  double Update(const protocol::GameState& state, bool last);

 private:
  double Changes(const protocol::GameState& state);
  bool WeaponHeld(const protocol::GameState& state);

  const std::vector<ShapingTerm>& terms_;
  const HeldWeapon& held_;
  std::vector<double> last_;
  std::vector<double> weights_;
  bool first_ = true;
  bool was_dead_ = false;
  int weapon_ = 0, held_decisions_ = 0;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_DOOM_REWARD_H_
