#include "actors/seat_factory.hpp"

#include <caf/actor_system.hpp>

#include "actors/builder_actor.hpp"
#include "actors/generator_actor.hpp"
#include "actors/rank_actor.hpp"
#include "actors/tracer_actor.hpp"

namespace tracewise {

Hired SeatFactory::hire(const Seat& seat) const {
  const ShellContext who{services, supervisor, name_of(seat), name_of(seat.role)};
  Hired hired;
  switch (seat.role) {
    case Role::kGenerator:
      hired.generator = system->spawn<GeneratorShell, caf::detached>(
          who, GeneratorSetup{seat.number, parts->make_engine, receivers->make(), options});
      break;
    case Role::kTracer:
      hired.tracer =
          system->spawn<TracerShell>(who, TracerSetup{seat.number, parts->make_tracer, options});
      break;
    case Role::kBuilder:
      hired.builder = system->spawn<BuilderShell>(
          who, BuilderSetup{seat.number, parts->group_options, options});
      break;
    case Role::kRank:
      hired.rank = system->spawn<RankShell, caf::detached>(
          who, RankSetup{parts, own_rank, make_rank_sender, options});
      break;
  }
  return hired;
}

}  // namespace tracewise
