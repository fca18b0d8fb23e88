// Bytes, base64, pixels of pictures, and bits packed eight to a byte.

export function fromBase64(text) {
  const plain = text.replace(/^data:[^,]*,/, '').replace(/-/g, '+').replace(/_/g, '/');
  return Uint8Array.from(atob(plain), (letter) => letter.charCodeAt(0));
}

export function toBase64(bytes) {
  let text = '';
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

const KINDS = { png: /^\x89PNG\r\n\x1a\n/, jpeg: /^\xff\xd8\xff/, webp: /^RIFF[^]{4}WEBP/, gif: /^GIF8[79]a/, bmp: /^BM/ };

/** Which of the formats that the service reads some bytes are of, by how they begin; null: of none. */
export function kindOf(bytes) {
  const start = String.fromCharCode(...bytes.subarray(0, 16));
  return Object.keys(KINDS).find((kind) => KINDS[kind].test(start)) ?? null;
}

/** A picture that came as base64, as a file. */
export function toBlob(text) {
  const bytes = fromBase64(text);
  return new Blob([bytes], { type: `image/${kindOf(bytes) ?? 'png'}` });
}

/** Width and height that a picture's header tells; the pixels, of which there may be very many, are not unpacked. */
export async function sizeOf(blob) {
  const url = URL.createObjectURL(blob);
  try {
    return await new Promise((done, failed) => {
      const image = new Image();
      image.onload = () => done([image.naturalWidth, image.naturalHeight]);
      image.onerror = failed;
      image.src = url;
    });
  } finally {
    URL.revokeObjectURL(url);
  }
}

export const blobBase64 = async (blob) => toBase64(new Uint8Array(await blob.arrayBuffer()));

/** Pixels (ImageData) of a picture, over `ground` where it is transparent; `grey` as one-channel pipelines see it, then `coloured` says of them
 *  whether there was colour to lose. */
export async function pixels(blob, grey = false, ground = 'white') {
  const bitmap = await createImageBitmap(blob, { imageOrientation: 'from-image' });
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d', { willReadFrequently: true });
  context.fillStyle = ground;
  context.fillRect(0, 0, bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  const found = context.getImageData(0, 0, bitmap.width, bitmap.height);
  if (grey) found.coloured = toGrey(found.data);
  return found;
}

const COLOURED = 24; // of 255 between the channels of a pixel, as the service has it: more than what JPEG makes of grey

/** Luma of Rec. 601 in whole numbers, as the service makes it; the grey of CSS is another one. Whether it was coloured before. */
function toGrey(data) {
  let coloured = false;
  for (let i = 0; i < data.length; i += 4) {
    coloured ||= Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > COLOURED;
    const grey = (data[i] * 19595 + data[i + 1] * 38470 + data[i + 2] * 7471 + 0x8000) >> 16;
    data[i] = data[i + 1] = data[i + 2] = grey;
  }
  return coloured;
}

/** Whether two pictures have the same pixels, all of them. */
export async function same(one, other) {
  const [a, b] = await Promise.all([pixels(one), pixels(other)]);
  return a.width === b.width && a.height === b.height && a.data.every((value, i) => value === b.data[i]);
}

/** Digits 0 or 1 of packed bytes, the most significant bit first. */
export function unpack(bytes, count) {
  const bits = new Uint8Array(count);
  for (let i = 0; i < count; i++) bits[i] = (bytes[i >> 3] >> (7 - (i & 7))) & 1;
  return bits;
}

export function pack(bits) {
  const bytes = new Uint8Array(Math.ceil(bits.length / 8));
  bits.forEach((bit, i) => { bytes[i >> 3] |= bit << (7 - (i & 7)); });
  return bytes;
}
