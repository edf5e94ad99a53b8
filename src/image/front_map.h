// FrontMap: the front as a StateMap. REQUIRES the freeze gate held shared while a mapping from it is in use.
#ifndef FVD_IMAGE_FRONT_MAP_H_
#define FVD_IMAGE_FRONT_MAP_H_

#include <algorithm>
#include <mutex>

#include "image/image_impl.h"
#include "image/state_io.h"

namespace fvd {

class ImageImpl::FrontMap final : public StateMap {
 public:
  explicit FrontMap(Front& front) : front_(front) {}

  Status lookup(std::uint32_t v, Mapping* out) override {
    out->entry = v < front_.table.size() ? front_.table.load(v) : format::kEmpty;
    if ((out->entry & format::kPartialFlag) == 0) return Status::ok();
    Front::Stripe& stripe = front_.stripe(v);
    const std::lock_guard lock(stripe.mutex);
    out->entry = front_.table.load(v);
    if ((out->entry & format::kPartialFlag) == 0) return Status::ok();
    const PartialMap::Entry partial = stripe.partials.find(v);
    out->origin = *partial.origin;
    std::copy(partial.words.begin(), partial.words.end(), out->words.begin());
    return Status::ok();
  }

  std::uint32_t empty_run(std::uint32_t v, std::uint32_t limit) override {
    std::uint32_t n = 0;
    while (n < limit && v + n < front_.table.size() && front_.table.load(v + n) == format::kEmpty) ++n;
    return n;
  }

 private:
  Front& front_;
};

}  // namespace fvd

#endif  // FVD_IMAGE_FRONT_MAP_H_
