// PNG files: what stands in one beside its pixels (tEXt, zTXt, iTXt, the request that made it), and grey ones written without alpha.
const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const MOST = 64 * 1024 * 1024; // bytes of one inflated text

/** {keyword: text} of a PNG file's bytes; {} for what is no PNG. */
export async function texts(bytes) {
  const found = {};
  if (!SIGNATURE.every((value, i) => bytes[i] === value)) return found;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const type = latin(bytes.subarray(at + 4, at + 8));
    if (at + 12 + length > bytes.length || type === 'IEND') break;
    if (['tEXt', 'zTXt', 'iTXt'].includes(type)) {
      const [key, text] = await read(type, bytes.subarray(at + 8, at + 8 + length));
      if (key) found[key] = text;
    }
    at += 12 + length;
  }
  return found;
}

async function read(type, data) {
  const end = data.indexOf(0);
  if (end < 1) return [null, ''];
  const key = latin(data.subarray(0, end));
  if (type === 'tEXt') return [key, latin(data.subarray(end + 1))];
  if (type === 'zTXt') return [key, latin(await inflate(data.subarray(end + 2)))];
  const language = data.indexOf(0, end + 3);
  const translated = data.indexOf(0, language + 1);
  const text = data.subarray(translated + 1);
  return [key, new TextDecoder().decode(data[end + 1] ? await inflate(text) : text)];
}

const latin = (bytes) => {
  let text = '';
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return text;
};

async function inflate(bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate')).getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > MOST) throw new Error('a text in this picture is too long');
    parts.push(value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** The bytes of a PNG of grey `pixels`, one byte each; a canvas would write an alpha channel. */
export async function greyPng(width, height, pixels) {
  const lines = new Uint8Array((width + 1) * height); // each begins with its filter, none
  for (let y = 0; y < height; y++) lines.set(pixels.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  const head = new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0]);
  new DataView(head.buffer).setUint32(0, width);
  new DataView(head.buffer).setUint32(4, height);
  const packed = await new Response(new Blob([lines]).stream().pipeThrough(new CompressionStream('deflate'))).arrayBuffer();
  const parts = [new Uint8Array(SIGNATURE), chunk('IHDR', head), chunk('IDAT', new Uint8Array(packed)), chunk('IEND', new Uint8Array())];
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

function chunk(type, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set([...type].map((letter) => letter.charCodeAt(0)), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, crc(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

function crc(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return (sum ^ 0xffffffff) >>> 0;
}

/** The request that made a picture of the studio, or null. */
export async function requestOf(blob) {
  try {
    const text = (await texts(new Uint8Array(await blob.arrayBuffer()))).Request;
    const request = text ? JSON.parse(text) : null;
    return request && typeof request.job === 'string' ? request : null;
  } catch {
    return null;
  }
}
