/* SPDX-License-Identifier: Apache-2.0 */
#include "args.h"
#include "guest.h"

void virtio_scan(struct guest_args *args)
{
	(void)args; /* qemu, or weft, has put all there are on the command line */
}
