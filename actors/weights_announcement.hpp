// What the learner tells every generator of a version. There may be a thousand of them, so copies
// share it, other nodes are written the same bytes, and the layout, which is that of all versions
// of a run, is told to each generator once: with the first version that it hears of.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "messages/codec.hpp"
#include "messages/records.hpp"

namespace tracewise {

// Immutable. Any thread may read it.
class WeightsAnnouncement {
 public:
  WeightsAnnouncement() : body_(std::make_shared<const Body>()) {}  // of no version

  // kResource if it does not fit a message.
  [[nodiscard]] static Result<WeightsAnnouncement> make(WeightsReady ready) {
    TW_ASSIGN(std::string bytes, encode(ready));
    return WeightsAnnouncement({std::move(ready), std::move(bytes)});
  }
  // The same for who knows the layout: without the tensors.
  [[nodiscard]] static Result<WeightsAnnouncement> make_short(WeightsReady ready) {
    ready.manifest.tensors.clear();
    return make(std::move(ready));
  }
  // What decode() says of other bytes than those that make() has written.
  [[nodiscard]] static Result<WeightsAnnouncement> read(std::string bytes) {
    WeightsReady ready;
    TW_TRY(decode(bytes, ready));
    return WeightsAnnouncement({std::move(ready), std::move(bytes)});
  }

  const WeightsReady& ready() const { return body_->ready; }
  const std::string& bytes() const { return body_->bytes; }

 private:
  struct Body {
    WeightsReady ready;
    std::string bytes;
  };
  explicit WeightsAnnouncement(Body body) : body_(std::make_shared<const Body>(std::move(body))) {}

  std::shared_ptr<const Body> body_;  // shared with its copies
};

}  // namespace tracewise
