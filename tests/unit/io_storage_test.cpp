// Storage: what it adds to the File below it.
#include <gtest/gtest.h>

#include "io/storage.h"
#include "support/image_rig.h"
#include "support/memory_file.h"

namespace fvd::test {
namespace {

// As a host does: what was lost is told once.
class OnceFailingFile final : public MemoryFile {
 public:
  Status sync() override { return ++syncs_ == 2 ? Status(Code::kIo, "lost") : Status::ok(); }

 private:
  int syncs_ = 0;
};

TEST(Storage, NoSyncSucceedsAfterOneThatFailed) {
  Storage storage(std::make_unique<OnceFailingFile>());
  EXPECT_OK(storage.sync());
  EXPECT_CODE(Code::kIo, storage.sync());
  EXPECT_CODE(Code::kIo, storage.sync());
  EXPECT_EQ(storage.syncs(), 3U);
}

}  // namespace
}  // namespace fvd::test
